//! With the webhook gone: what is not managed goes on, what is managed is refused.

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::json;
use std::time::Duration;

use crate::harness::{JSON, Send, namespace, playground, send};

#[test]
fn without_the_webhook_unmanaged_work_goes_on_and_managed_work_is_refused() {
    let guard = Guard::start(playground()).unwrap();
    let post = |path: &str, body: &serde_json::Value| {
        let request = Send {
            identity: &Identity::developer(),
            method: "POST",
            path: path.to_owned(),
            content_type: JSON,
        };
        send(&guard, &request, body)
    };
    post("/api/v1/namespaces", &namespace("codex-issue-before")).admitted();
    guard.webhook.process.signal("KILL").unwrap();
    eventually("the webhook is gone", Duration::from_secs(10), || guard.webhook.health.get("/livez").err())
        .unwrap();
    post("/api/v1/namespaces", &namespace("payments")).admitted();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    post("/apis/batch/v1/namespaces/payments/jobs", &job).admitted();
    for (path, body) in [
        ("/api/v1/namespaces", namespace("codex-issue-after")),
        ("/apis/batch/v1/namespaces/codex-issue-before/jobs", job),
    ] {
        let answer = post(path, &body);
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.code == 500 && message.contains(".guard.codex-k8s.dev"), "{} {message}", answer.code);
    }
}
