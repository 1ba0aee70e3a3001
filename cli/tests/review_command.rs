//! The output and the exit codes of `explain --review`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use codex_k8s_webhook::review;
use serde_json::{Value, json};
use support::run;

const ID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A Deployment on the host's network, without much else that could be wrong.
fn deployment() -> Value {
    let spec = json!({"hostNetwork": true, "automountServiceAccountToken": false, "serviceAccountName": "codex-runner",
        "containers": [{"name": "c", "image": "busybox"}]});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}})
}

fn escape() -> Value {
    json!({"apiVersion": review::API_VERSION, "kind": review::KIND, "request": {"uid": ID,
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "name": "d", "namespace": "codex-issue-demo",
        "operation": "CREATE", "userInfo": {"username": "jane", "groups": ["developers"]}, "object": deployment(),
    }})
}

/// The audit event of the same request.
fn event() -> Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Event", "level": "RequestResponse", "auditID": ID,
        "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/codex-issue-demo/deployments",
        "verb": "create", "user": {"username": "jane", "groups": ["developers"]},
        "objectRef": {"resource": "deployments", "namespace": "codex-issue-demo", "name": "d", "apiGroup": "apps",
            "apiVersion": "v1"},
        "responseStatus": {"code": 403}, "requestObject": deployment(),
        "requestReceivedTimestamp": "2026-02-01T12:00:00.000000Z", "stageTimestamp": "2026-02-01T12:00:00.100000Z"})
}

#[test]
fn a_review_and_an_audit_event_are_explained_with_the_reason_and_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    for request in [escape(), event()] {
        let (code, output, complained) =
            run(folder.path(), &["explain", "--review", "-"], request.to_string().as_bytes());
        assert_eq!((code, complained.as_str()), (0, ""));
        for part in [
            format!("Request {ID}\n  user        jane\n  groups      developers\n").as_str(),
            "  operation   CREATE Deployment codex-issue-demo/d\n",
            "  namespace   codex-issue-demo, assumed: full-env, run demo, project unknown, Pod Security baseline:latest\n",
            "\nJOB018: A workload does not use the host's namespaces and ports\n  spec.template.spec.hostNetwork: Invalid value: true: ",
            "  Why:    On the host's network, a Pod acts as the node;",
            "  Comply: Leave hostNetwork, hostPID, hostIPC and hostPort out. Also leave out the host of probes",
            "\n  denied (403)\n",
        ] {
            assert!(output.contains(part), "no {part:?} in\n{output}");
        }
    }
}

#[test]
fn an_event_is_evaluated_at_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["explain", "--review", "-"], event().to_string().as_bytes()).1;
    assert!(output.contains("  time        2026-02-01T12:00:00Z\n"), "{output}");
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
    let (_, output, complained) = run(folder.path(), &["explain", "--review", "review.json"], b"");
    assert!(output.contains("x\\u{1b}[31m") && !output.contains('\u{1b}'), "{output}{complained}");
}

#[test]
fn a_request_that_cannot_be_evaluated_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("no.json", "{");
    file("pod.json", r#"{"apiVersion": "v1", "kind": "Pod"}"#);
    file("widget.json", &escape().to_string().replace("Deployment", "Widget"));
    let mut metadata = event();
    metadata["level"] = "Metadata".into();
    file("metadata.json", &metadata.to_string());
    let mut update = event();
    update["verb"] = "update".into();
    file("update.json", &update.to_string());
    for (args, expected) in [
        (vec!["--review", "no.json"], "must be an AdmissionReview or an audit event in JSON"),
        (vec!["--review", "pod.json"], "apiVersion: found \"v1\", expected \"admission.k8s.io/v1\""),
        (vec!["--review", "widget.json"], "kind: Unsupported value: \"Widget\": no rule is about it"),
        (
            vec!["--review", "metadata.json"],
            "logged at level Metadata, without the object; replay the whole log",
        ),
        (vec!["--review", "update.json"], "old object unknown"),
        (vec!["--review", "gone.json"], "failed to read gone.json"),
        (vec!["--review", "no.json", "NS007"], "cannot be used with"),
    ] {
        let (code, output, complained) = run(folder.path(), &[&["explain"], &args[..]].concat(), b"");
        assert_eq!(output, "", "{args:?}: {complained}");
        assert!(code > 0 && complained.contains(expected), "{args:?}: {complained}");
    }
}
