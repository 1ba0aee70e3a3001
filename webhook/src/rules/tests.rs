//! Decisions that a real API server cannot easily be brought to ask for.

use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-02-01T12:00:00Z";

fn request<'a>(user: &'a str, kind: Kind, old: Option<Value>, new: Option<Value>) -> Request<'a> {
    let operation = match (&old, &new) {
        (None, _) => Operation::Create,
        (_, None) => Operation::Delete,
        _ => Operation::Update,
    };
    Request {
        operation,
        kind,
        subresource: None,
        name: "",
        user,
        groups: Vec::new(),
        object: new,
        old_object: old,
    }
}

fn run_namespace(name: &str) -> ManagedNamespace {
    ManagedNamespace {
        name: name.into(),
        mode: RuntimeMode::FullEnv,
        run_id: "r1".into(),
        project_id: "p1".into(),
        correlation_id: None,
        expires_at: None,
        terminating: false,
    }
}

/// The rules that refuse a request.
fn refusals(facts: &Facts, request: &Request<'_>) -> Vec<&'static str> {
    let verdict = decide(&RunPolicy::default(), facts, request, Entry::Validate);
    let mut rules: Vec<_> = verdict.denials().map(|finding| finding.rule.id).collect();
    rules.dedup();
    rules
}

fn in_run_namespace() -> Facts {
    let namespace = Some(Arc::new(run_namespace("codex-issue-1")));
    Facts { namespace, ..Facts::at(NOW.parse().unwrap()) }
}

#[test]
fn a_controller_manager_without_an_identity_per_controller_makes_the_pods_of_a_run() {
    let pod = json!({"metadata": {"name": "codex-k8s-run-r1-abcde", "labels":
            {"codex-k8s.dev/run-id": "r1", "app.kubernetes.io/name": "codex-k8s-run"}},
        "spec": {"serviceAccountName": "codex-runner", "containers": [{"name": "c"}]}});
    let made_by = |user| refusals(&in_run_namespace(), &request(user, Kind::Pod, None, Some(pod.clone())));
    assert_eq!(made_by("system:serviceaccount:kube-system:job-controller"), [""; 0]);
    assert_eq!(made_by("system:kube-controller-manager"), [""; 0]);
    assert_eq!(made_by("jane"), ["JOB001", "JOB002"]);
}
