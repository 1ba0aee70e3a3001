//! Without the webhook: unmanaged objects can still be changed, managed ones are refused, and deletion still works.

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::{Value, json};
use std::time::Duration;

use crate::harness::{Answer, JSON, Send, annotation, namespace, playground, send, with_label};

/// A separate guarded cluster, whose webhook can be stopped.
struct Outage(Guard);

impl Outage {
    fn start() -> Self {
        Self(Guard::start(playground()).unwrap())
    }

    fn ask(&self, identity: &Identity, method: &'static str, path: &str, body: &Value) -> Answer {
        send(
            &self.0.control_plane,
            &Send { identity, method, path: path.to_owned(), content_type: JSON },
            body,
        )
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&Identity::developer(), "POST", path, body)
    }

    fn end_the_webhook(&self) {
        self.0.webhook.process.signal("KILL").unwrap();
        eventually("the webhook is gone", Duration::from_secs(10), || {
            self.0.webhook.health.get("/livez").err()
        })
        .unwrap();
    }

    /// Returns true if the request was refused because the webhook does not answer, not by a rule.
    #[track_caller]
    fn is_missed(answer: &Answer) {
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.code == 500 && message.contains(".guard.codex-k8s.dev"), "{} {message}", answer.code);
    }
}

fn job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

fn binding(kind: &str, namespace: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": format!("b-{namespace}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]})
}

#[test]
fn without_the_webhook_unmanaged_work_goes_on_and_managed_work_is_refused() {
    let outage = Outage::start();
    outage.post("/api/v1/namespaces", &namespace("codex-issue-before")).admitted();
    outage.end_the_webhook();
    outage.post("/api/v1/namespaces", &namespace("payments")).admitted();
    outage.post("/apis/batch/v1/namespaces/payments/jobs", &job()).admitted();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    outage
        .post(&format!("{rbac}/clusterrolebindings"), &binding("ClusterRoleBinding", "payments"))
        .admitted();
    let elsewhere = format!("{rbac}/namespaces/payments/rolebindings");
    outage.post(&elsewhere, &binding("RoleBinding", "monitoring")).admitted();
    // Names and labels that only resemble ours.
    for name in
        ["codex-k8s-dev-notes", "codex-k8s-dev-1-notes", "codex-k8s-dev-01", "other-dev-1", "codex-issues-1"]
    {
        outage.post("/api/v1/namespaces", &namespace(name)).admitted();
    }
    let near_miss = with_label(namespace("look-alike"), "Managed-By", "codex-k8s-worker");
    outage.post("/api/v1/namespaces", &near_miss).admitted();
    for (path, body) in [
        ("/api/v1/namespaces", namespace("codex-issue-after")),
        ("/api/v1/namespaces", namespace("codex-k8s-dev-7")),
        ("/api/v1/namespaces", with_label(namespace("payroll"), "managed-by", "codex-k8s-worker")),
        ("/apis/batch/v1/namespaces/codex-issue-before/jobs", job()),
        (&elsewhere, binding("RoleBinding", "codex-issue-before")),
        (&format!("{rbac}/clusterrolebindings"), binding("ClusterRoleBinding", "codex-k8s-dev-1")),
    ] {
        Outage::is_missed(&outage.post(path, &body));
    }
}

#[test]
fn a_run_namespace_ends_without_the_webhook_and_its_baseline_is_guarded_until_then() {
    let outage = Outage::start();
    let admin = Identity::Admin;
    let path = |name: &str| format!("/api/v1/namespaces/{name}");
    for name in ["codex-issue-ending", "codex-issue-staying"] {
        outage.post("/api/v1/namespaces", &namespace(name)).admitted();
        eventually("the baseline is there", Duration::from_secs(30), || {
            let found = outage.ask(&admin, "GET", &path(name), &Value::Null).admitted();
            (!annotation(&found, "baseline-ready-at").is_empty()).then_some(())
        })
        .unwrap();
    }
    outage.ask(&Identity::worker(), "DELETE", &path("codex-issue-ending"), &Value::Null).admitted();
    outage.end_the_webhook();
    let quota = format!("{}/resourcequotas/codex-run-quota", path("codex-issue-staying"));
    for identity in [&admin, &Identity::worker()] {
        Outage::is_missed(&outage.ask(identity, "DELETE", &quota, &Value::Null));
    }
    eventually("the namespace is gone", Duration::from_mins(1), || {
        let found = outage.ask(&admin, "GET", &path("codex-issue-ending"), &Value::Null);
        (found.code == 404).then_some(())
    })
    .unwrap();
}

/// Breaks the glass as docs/operations/incidents.md describes it, with a user that may delete only the two
/// configurations, and uninstalls in the wrong order: the servers first.
#[test]
fn the_glass_is_broken_while_no_one_answers_and_all_goes_on_unguarded() {
    let outage = Outage::start();
    outage.post("/api/v1/namespaces", &namespace("codex-issue-before")).admitted();
    outage.end_the_webhook();
    let created = "/apis/batch/v1/namespaces/codex-issue-before/jobs";
    Outage::is_missed(&outage.post(created, &job()));
    let admin = outage.0.kubectl(&Identity::Admin).unwrap();
    let run = |args: &[&str]| {
        let ran = admin.run(args).unwrap();
        assert!(ran.succeeded(), "{ran}");
    };
    let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    run(&["create", "clusterrole", "break-glass", "--verb=delete", &format!("--resource={kinds}")]);
    run(&["create", "clusterrolebinding", "break-glass", "--clusterrole=break-glass", "--user=oncall"]);
    let oncall = outage.0.kubectl(&Identity::user("oncall")).unwrap();
    let command =
        ["delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", "codex-k8s-guard"];
    let ran = oncall.run(&command).unwrap();
    assert!(ran.succeeded(), "{ran}");
    eventually("nothing is asked any more", Duration::from_secs(30), || {
        let answers = [
            outage.post(&format!("{created}?dryRun=All"), &job()),
            outage.post("/api/v1/namespaces?dryRun=All", &namespace("codex-issue-after")),
        ];
        answers.iter().all(|answer| answer.code < 300).then_some(())
    })
    .unwrap();
    // A managed namespace is deleted with everything in it, although it is not reconciled.
    outage.ask(&Identity::Admin, "DELETE", "/api/v1/namespaces/codex-issue-before", &Value::Null).admitted();
    eventually("the namespace is gone", Duration::from_mins(1), || {
        let found =
            outage.ask(&Identity::Admin, "GET", "/api/v1/namespaces/codex-issue-before", &Value::Null);
        (found.code == 404).then_some(())
    })
    .unwrap();
}
