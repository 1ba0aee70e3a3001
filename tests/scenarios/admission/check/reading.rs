//! `check` admits the same manifests as `kubectl apply --dry-run=server`, also malformed ones.

use std::fs;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_tests::Identity;
use codex_k8s_webhook::check::{CheckRequest, Checker, Document, Evaluation, Origin, Verdict, read};

use super::malformed::{Random, manifest};
use super::{document_of, identities, policy_of_tests};
use crate::harness::{cluster, managed};

const SEED: u64 = 20_261_130;
const MANIFESTS: usize = 400;
/// Parts of the errors of kubectl and of the API server about objects that cannot be read.
const UNREADABLE: [&str; 3] = ["cannot be handled as", "unable to decode", "strict decoding error"];

fn name_of(number: usize) -> String {
    format!("generated-{number:03}")
}

fn evaluate_all(checker: &Checker, documents: &[Document]) -> Vec<Evaluation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(checker.evaluate_all(documents)).unwrap()
}

/// Evaluates a manifest; `None` if it cannot be read at all.
fn evaluate(policy: &RunPolicy, namespace: &Document, text: &str) -> Option<Evaluation> {
    let [(_, requester), ..] = identities(namespace.name());
    let mut checker = Checker::new(policy.clone(), CheckRequest::creation(requester));
    checker.assume(std::slice::from_ref(namespace)).unwrap();
    let documents = read("f.yaml", text.as_bytes(), Origin::Named).ok()?.documents;
    evaluate_all(&checker, &documents).into_iter().next()
}

#[test]
fn generated_manifests_get_the_verdict_of_kubectl_apply() {
    println!("seed {SEED}");
    let (namespace, policy, mut random) = (managed(), policy_of_tests(), Random::new(SEED));
    let folder = tempfile::tempdir().unwrap();
    let manifests: Vec<_> =
        (0..MANIFESTS).map(|number| manifest(&mut random, &namespace, &name_of(number))).collect();
    for (number, text) in manifests.iter().enumerate() {
        fs::write(folder.path().join(format!("{}.yaml", name_of(number))), text).unwrap();
    }
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let folder = folder.path().to_str().unwrap();
    let ran = kubectl.run(&["apply", "--dry-run=server", "-f", folder]).unwrap();
    let namespace = document_of(&namespace);
    let (mut admitted, mut invalid, mut denied, mut elsewhere) = (0, 0, 0, 0);
    let mut disagreements = Vec::new();
    for (number, text) in manifests.iter().enumerate() {
        let name = name_of(number);
        let evaluation = evaluate(&policy, &namespace, text);
        let result = evaluation.as_ref().map_or(Verdict::Invalid, |evaluation| evaluation.result);
        let is_created = ran.stdout.contains(&format!("/{name} created"));
        let errors: Vec<_> = ran.stderr.lines().filter(|line| line.contains(&name)).collect();
        let is_unreadable = errors.iter().any(|line| UNREADABLE.iter().any(|part| line.contains(part)));
        let is_denied = errors.iter().any(|line| line.contains("denied the request"));
        let agree = match result {
            Verdict::Invalid => is_unreadable,
            _ if result.fails() => !is_created && !is_unreadable,
            _ => is_created || !(is_unreadable || is_denied),
        };
        match result {
            Verdict::Invalid => invalid += 1,
            _ if result.fails() => denied += 1,
            _ if is_created => admitted += 1,
            _ => elsewhere += 1,
        }
        if !agree {
            let message = evaluation.and_then(|evaluation| evaluation.message);
            disagreements.push(format!("{text}\n  check   {result:?} {message:?}\n  kubectl {errors:?}"));
        }
    }
    let counts = format!(
        "{admitted} admitted, {invalid} invalid, {denied} denied, {elsewhere} invalid for another reason, {} disagree",
        disagreements.len()
    );
    println!("{counts}");
    assert!(disagreements.is_empty(), "{counts}\n{}", disagreements.join("\n"));
    assert!(admitted > 100 && invalid > 100 && denied > 20 && elsewhere < MANIFESTS / 4, "{counts}");
}

#[test]
fn a_repeated_field_is_refused_by_the_api_server_too() {
    let text = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "name": "b"}}"#;
    let path = "/api/v1/namespaces/default/configmaps?dryRun=All&fieldValidation=Strict";
    // `kubectl apply` would drop one of the two before it sends them.
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let ran = kubectl.run_with_input(&["create", "--raw", path, "-f", "-"], text).unwrap();
    assert!(ran.stderr.contains(r#"duplicate field "metadata.name""#), "{ran}");
    let found = &read("f.json", text.as_bytes(), Origin::Named).unwrap().documents[0];
    let [(_, requester), ..] = identities("default");
    let checker = Checker::new(RunPolicy::default(), CheckRequest::creation(requester));
    let evaluated = evaluate_all(&checker, std::slice::from_ref(found));
    assert_eq!((evaluated[0].result, evaluated[0].rules()), (Verdict::Invalid, vec!["SCHEMA"]));
    assert_eq!(evaluated[0].problems[0].path, "metadata.name");
}
