//! The annotations and pull secrets that the policy gives to the baseline's ServiceAccount.

use std::sync::OnceLock;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_tests::{Guard, Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, TIMEOUT, baseline, playground};

const ROLE: &str = "eks.amazonaws.com/role-arn";

fn policy(annotations: &Value, secrets: &Value) -> String {
    let mut baseline = serde_json::to_value(RunPolicy::default().baseline).unwrap();
    baseline["candidate"]["annotations"] = annotations.clone();
    baseline["candidate"]["imagePullSecrets"] = secrets.clone();
    // JSON is YAML.
    format!("baseline: {baseline}\n")
}

fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    let policy = policy(&json!({ROLE: "agent"}), &json!(["registry"]));
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), &policy).unwrap())
}

fn has(account: &Value, role: &Value, secrets: &Value) -> bool {
    &account["metadata"]["annotations"][ROLE] == role && &account["imagePullSecrets"] == secrets
}

#[test]
fn the_account_of_a_run_keeps_the_annotations_and_pull_secrets_of_the_policy() {
    let client = Client::new(guard(), &Identity::reconciler());
    let name = client.ready_namespace();
    let path = &baseline(&name)[0].1;
    let (role, secrets) = (json!("agent"), json!([{"name": "registry"}]));
    assert!(has(&client.get(path), &role, &secrets), "{}", client.get(path));
    for edit in [
        json!({"metadata": {"annotations": {ROLE: "admin"}}}),
        json!({"metadata": {"annotations": {ROLE: null}}}),
        json!({"imagePullSecrets": null}),
    ] {
        client.patch(&format!("{path}?fieldManager=kubectl-edit"), &edit);
        let repaired = || Some(client.get(path)).filter(|account| has(account, &role, &secrets));
        eventually(&format!("{edit} is repaired"), TIMEOUT, repaired).unwrap();
        client.await_gate(&name);
    }
    // The platform's worker writes an account without them.
    let worker = Client::new(guard(), &Identity::worker());
    let mut plain = worker.get(path);
    plain.as_object_mut().unwrap().remove("imagePullSecrets");
    plain["metadata"].as_object_mut().unwrap().remove("annotations");
    let stored = worker.send(Method::PUT, path, &plain).object().unwrap();
    assert!(has(&stored, &role, &secrets), "{stored}");
}

#[test]
fn pull_secrets_and_annotations_of_others_stay_and_those_that_the_policy_drops_go() {
    let other = policy(&json!({}), &json!([]));
    let guard =
        Guard::start_with_policy(playground(), &policy(&json!({ROLE: "agent"}), &json!(["registry"])));
    let guard = guard.unwrap();
    let client = Client::new(&guard, &Identity::reconciler());
    let (theirs, dropped) = (client.ready_namespace(), client.ready_namespace());
    let path = |name: &str| baseline(name)[0].1.clone();
    let added = json!({"metadata": {"annotations": {"example.com/note": "theirs"}},
        "imagePullSecrets": [{"name": "registry"}, {"name": "builder"}]});
    client.patch(&format!("{}?fieldManager=distribution", path(&theirs)), &added);
    guard.write_policy(&other).unwrap();
    eventually("the annotation of the old policy is gone", TIMEOUT, || {
        let is_plain = |name: &str| client.get(&path(name))["metadata"]["annotations"][ROLE].is_null();
        (is_plain(&theirs) && is_plain(&dropped)).then_some(())
    })
    .unwrap();
    assert_eq!(client.get(&path(&dropped))["imagePullSecrets"], Value::Null);
    let account = client.get(&path(&theirs));
    assert_eq!(account["metadata"]["annotations"]["example.com/note"], "theirs");
    assert_eq!(account["imagePullSecrets"], added["imagePullSecrets"]);
}
