//! The output and the exit codes of `check --review` and `explain --review`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::VirtualCluster;
use codex_k8s_webhook::engine::Engine;
use codex_k8s_webhook::record::folder::Bounds;
use codex_k8s_webhook::record::recorder::{Recorder, What};
use codex_k8s_webhook::review::{self, Entry};
use serde_json::{Value, json};
use support::Ended;
use tokio::time::Instant;

const ID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
const LENIENT: &str = "\
apiVersion: policy.codex-k8s.dev/v1alpha1
kind: RunPolicy
rules: {JOB018: warn, PSS003: warn}
";

fn namespace() -> Value {
    json!({"metadata": {"name": "codex-issue-demo", "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker",
        "codex-k8s.dev/run-id": "r1", "codex-k8s.dev/project-id": "p1", "codex-k8s.dev/runtime-mode": "full-env",
        "pod-security.kubernetes.io/enforce": "baseline"}}})
}

/// A Deployment on the host's network, without much else that could be wrong.
fn escape() -> Value {
    let spec = json!({"hostNetwork": true, "automountServiceAccountToken": false, "serviceAccountName": "codex-runner",
        "containers": [{"name": "c", "image": "busybox", "env": [{"name": "TOKEN", "value": "hunter2"}]}]});
    json!({"apiVersion": review::API_VERSION, "kind": review::KIND, "request": {"uid": ID,
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "name": "d", "namespace": "codex-issue-demo",
        "operation": "CREATE", "userInfo": {"username": "jane", "groups": ["developers"]},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}},
    }})
}

/// A folder with the record of one denial.
fn recorded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { files: 10, bytes: 1 << 20 };
    let recorder = Recorder::start(folder.path().to_owned(), bounds, What::Denied, Arc::default()).unwrap();
    let cluster = VirtualCluster::default();
    cluster.add(&namespace());
    let engine =
        Engine::new(RunPolicy::default(), cluster, Arc::default()).recorded_by(Some(recorder.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let body = escape().to_string();
        let request = review::parse(body.as_bytes()).unwrap();
        assert!(engine.review(Entry::Validate, &request, Instant::now()).await.denial.is_some());
        recorder.flush().await;
    });
    folder
}

fn run(folder: &Path, args: &[&str]) -> Ended {
    support::run(folder, args, b"")
}

#[test]
fn a_record_is_found_by_its_id_and_reported_with_its_facts_its_rules_and_its_verdict() {
    let folder = recorded();
    let (code, output, complained) = run(folder.path(), &["check", "--review", ".", "--decision", ID]);
    assert_eq!((code, complained.as_str()), (1, ""));
    for part in [
        format!("Decision {ID}\n  requested byjane\n  in groups   developers\n").as_str(),
        "  operation   CREATE Deployment codex-issue-demo/d\n  call        validate\n",
        "  namespace   codex-issue-demo: full-env, run r1, project p1, Pod Security baseline:latest, ready\n",
        "  requester   of no managed namespace\n",
        "  found         JOB018 A workload does not use the host's namespaces and ports\n",
        "  passed        JOB",
        "  out of scope  NS001 ",
        "Verdict\n  denied (403)\n    JOB018: spec.template.spec.hostNetwork: Invalid value: true: must be false or unset",
    ] {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
}

#[test]
fn a_folder_lists_its_decisions() {
    let (code, output, _) = run(recorded().path(), &["check", "--review", "."]);
    assert_eq!(code, 0);
    let line = "  validate  CREATE Deployment codex-issue-demo/d by jane: denied by JOB018\n";
    assert!(output.starts_with(ID) && output.ends_with(line), "{output}");
}

#[test]
fn another_policy_reports_what_would_now_be() {
    let folder = recorded();
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(policy.path(), LENIENT).unwrap();
    let args = ["check", "--review", ".", "--decision", ID, "--policy", policy.path().to_str().unwrap()];
    let (code, output, complained) = run(folder.path(), &args);
    assert_eq!((code, complained.as_str()), (0, ""));
    let then = format!("  was denied under policy {} (403)\n", RunPolicy::default().hash());
    let now =
        "  would now be admitted\n    warning: JOB018: spec.template.spec.hostNetwork: Invalid value: true: ";
    assert!(output.contains(&then) && output.contains(now), "{output}");
    let json = run(folder.path(), &[&args[..], &["-o", "json"]].concat()).1;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["verdict"]["result"], &json["recorded"]["verdict"]["result"]),
        (&json!("admitted"), &json!("denied"))
    );
    let yaml = run(folder.path(), &[&args[..], &["-o", "yaml"]].concat()).1;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), json);
}

#[test]
fn a_review_without_facts_is_evaluated_in_the_namespace_that_the_webhook_would_make() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("review.json"), escape().to_string()).unwrap();
    let (code, output, complained) = run(folder.path(), &["check", "--review", "review.json"]);
    assert_eq!((code, complained.as_str()), (1, ""));
    assert!(
        output.contains("  namespace   codex-issue-demo: ") && output.contains("Verdict\n  denied (403)\n"),
        "{output}"
    );
}

#[test]
fn a_review_says_nothing_to_the_terminal_that_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut review = escape();
    for field in ["/request/uid", "/request/name", "/request/namespace", "/request/userInfo/username"] {
        *review.pointer_mut(field).unwrap() = "x\u{1b}[31m".into();
    }
    review["request"]["userInfo"]["groups"] = json!(["g\u{1b}[31m"]);
    fs::write(folder.path().join("review.json"), review.to_string()).unwrap();
    for command in ["check", "explain"] {
        let (_, output, complained) = run(folder.path(), &[command, "--review", "review.json"]);
        assert!(output.contains("x\\u{1b}[31m") && !output.contains('\u{1b}'), "{output}{complained}");
    }
}

#[test]
fn an_explained_review_reports_why_and_how_to_comply() {
    let folder = recorded();
    let (code, output, complained) = run(folder.path(), &["explain", "--review", ".", "--decision", ID]);
    assert_eq!((code, complained.as_str()), (0, ""));
    for part in [
        "\nJOB018: A workload does not use the host's namespaces and ports\n  spec.template.spec.hostNetwork: Invalid value: true: ",
        "  Why:    On the host's network, a Pod acts as the node;",
        "  Comply: Leave hostNetwork, hostPID, hostIPC and hostPort out. Also leave out the host of probes",
    ] {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
}

#[test]
fn what_cannot_be_replayed_ends_with_2_and_says_why() {
    let folder = recorded();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("no.json", "{");
    file("pod.json", r#"{"apiVersion": "v1", "kind": "Pod"}"#);
    file("newer.json", r#"{"apiVersion": "record.codex-k8s.dev/v9", "kind": "DecisionRecord"}"#);
    let other = escape().to_string().replace("Deployment", "Widget");
    file("widget.json", &other);
    for (args, expected) in [
        (vec!["--review", ".", "--decision", "nowhere"], "found no record of the decision \"nowhere\""),
        (vec!["--review", "no.json"], "found what is neither a record nor an AdmissionReview in JSON"),
        (vec!["--review", "pod.json"], "apiVersion: found \"v1\", expected \"admission.k8s.io/v1\""),
        (vec!["--review", "newer.json"], "apiVersion: found \"record.codex-k8s.dev/v9\"; this version reads"),
        (vec!["--review", "widget.json"], "request.kind: found \"Widget\", which no rule is about"),
        (vec!["--review", "gone.json"], "failed to read gone.json"),
        (vec!["--review", "no.json", "manifest.yaml"], "cannot be used with"),
    ] {
        let (code, output, complained) = run(folder.path(), &[&["check"], &args[..]].concat());
        assert_eq!((code, output.as_str()), (2, ""), "{args:?}: {complained}");
        assert!(complained.contains(expected), "{args:?}: {complained}");
    }
}
