//! Decisions about objects in a namespace that are hard to provoke on a real API server.

mod rights;

use std::sync::Arc;

use codex_k8s_shared::baseline::{self, BaselineKind};
use codex_k8s_shared::run::RuntimeMode;
use serde_json::json;

use super::*;
use crate::rules::ManagedNamespace;
use crate::rules::tests::{request, run_namespace};

const WORKER: &str = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";
const NAMESPACE: &str = "codex-issue-1";
const SLOT: &str = "codex-k8s-dev-1";

fn facts(namespace: &str, mode: RuntimeMode) -> Facts {
    let namespace = ManagedNamespace { mode, ..run_namespace(namespace) };
    let at = "2026-02-01T12:00:00Z".parse().unwrap();
    Facts { namespace: Some(Arc::new(namespace)), requester_is_managed: true, ..Facts::at(at) }
}

fn in_full_env() -> Facts {
    facts(NAMESPACE, RuntimeMode::FullEnv)
}

fn refusals(policy: &RunPolicy, facts: &Facts, request: &Request<'_>) -> Vec<String> {
    let verdict = crate::rules::decide(policy, facts, request, Entry::Validate);
    verdict
        .denials()
        .map(|finding| format!("{} {} {}", finding.rule.id, finding.path, finding.found))
        .collect()
}

/// Returns the denials under the default policy.
fn refused(facts: &Facts, user: &str, kind: Kind, old: Option<Value>, new: Option<Value>) -> Vec<String> {
    refusals(&RunPolicy::default(), facts, &request(user, kind, old, new))
}

fn mutated(facts: &Facts, user: &str, kind: Kind, old: Option<Value>, new: &Value) -> Value {
    let evaluated = request(user, kind, old, Some(new.clone()));
    let verdict = crate::rules::decide(&RunPolicy::default(), facts, &evaluated, Entry::Mutate);
    let mut object = new.clone();
    json_patch::patch(&mut object, &verdict.patch).unwrap();
    object
}

fn desired_object(namespace: &str, kind: BaselineKind, name: &str) -> Value {
    baseline::desired_object(&RunPolicy::default(), namespace, RuntimeMode::FullEnv, kind, name)
        .unwrap()
        .object
}

#[test]
fn what_a_manager_writes_under_a_baseline_name_becomes_the_policys() {
    let quota = json!({"metadata": {"name": "codex-run-quota"}, "spec": {"hard": {"pods": "20"}, "scopes": ["BestEffort"]}});
    let stored = mutated(&in_full_env(), WORKER, Kind::ResourceQuota, None, &quota);
    assert_eq!(
        stored["spec"],
        desired_object(NAMESPACE, BaselineKind::ResourceQuota, "codex-run-quota")["spec"]
    );
    assert_eq!(stored["metadata"]["labels"]["codex-k8s.dev/managed-by"], "codex-k8s-worker");
    let star = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    for name in ["codex-runner", "codex-runner-readonly"] {
        let role = json!({"metadata": {"name": name, "annotations": {"of": "the platform"}}, "rules": star});
        let stored = mutated(&in_full_env(), WORKER, Kind::Role, None, &role);
        assert_eq!(stored["rules"], desired_object(NAMESPACE, BaselineKind::Role, name)["rules"]);
        assert_eq!(stored["metadata"]["annotations"]["of"], "the platform");
    }
}

#[test]
fn no_one_elses_write_is_mutated_and_no_managers_write_is_refused() {
    let quota = json!({"metadata": {"name": "codex-run-quota"}, "spec": {"hard": {"pods": "2000"}}});
    for user in ["jane", RECONCILER, "system:serviceaccount:codex-issue-1:codex-runner"] {
        assert_eq!(mutated(&in_full_env(), user, Kind::ResourceQuota, None, &quota), quota, "{user}");
    }
    assert_eq!(refused(&in_full_env(), WORKER, Kind::ResourceQuota, None, Some(quota)), [""; 0]);
}

#[test]
fn where_the_policy_wants_no_such_object_a_managers_is_left_as_it_is() {
    let limits = json!({"metadata": {"name": "codex-run-limits"}, "spec": {"limits": []}});
    let slot = facts(SLOT, RuntimeMode::FullEnv);
    assert_eq!(mutated(&slot, WORKER, Kind::LimitRange, None, &limits), limits);
    let own = json!({"metadata": {"name": "platform"}, "rules": []});
    assert_eq!(mutated(&slot, WORKER, Kind::Role, None, &own), own);
}

#[test]
fn a_role_ref_is_set_only_where_the_stored_one_is_right_already() {
    let right = desired_object(NAMESPACE, BaselineKind::RoleBinding, "codex-runner");
    let mut wrong = right.clone();
    wrong["roleRef"]["name"] = "admin".into();
    wrong["subjects"] = json!([]);
    let created = mutated(&in_full_env(), WORKER, Kind::RoleBinding, None, &wrong);
    let fields = |object: &Value| (object["roleRef"].clone(), object["subjects"].clone());
    assert_eq!(fields(&created), fields(&right));
    let restored = mutated(&in_full_env(), WORKER, Kind::RoleBinding, Some(right.clone()), &wrong);
    assert_eq!(fields(&restored), fields(&right));
    let stuck = mutated(&in_full_env(), WORKER, Kind::RoleBinding, Some(wrong.clone()), &wrong);
    assert_eq!((&stuck["roleRef"], &stuck["subjects"]), (&wrong["roleRef"], &right["subjects"]));
}

#[test]
fn a_baseline_object_that_is_written_back_as_it_is_passes() {
    let role = desired_object(NAMESPACE, BaselineKind::Role, "codex-runner");
    let mut again = role.clone();
    again["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    assert_eq!(refused(&in_full_env(), "jane", Kind::Role, Some(role), Some(again)), [""; 0]);
}

#[test]
fn the_label_makes_an_object_part_of_the_baseline_whatever_its_name_and_value() {
    let account = |labels: Value| json!({"metadata": {"name": "mine", "labels": labels}});
    let label = json!({"codex-k8s.dev/managed-by": "me"});
    let created = refused(&in_full_env(), "jane", Kind::ServiceAccount, None, Some(account(label.clone())));
    assert_eq!(created, [r#"BASE001 metadata.labels["codex-k8s.dev/managed-by"] "me""#]);
    let plain = Some(account(json!({})));
    let put_on =
        refused(&in_full_env(), "jane", Kind::ServiceAccount, plain.clone(), Some(account(label.clone())));
    assert_eq!(put_on, [r#"BASE001 metadata.labels {"codex-k8s.dev/managed-by":"me"}"#]);
    let stripped = refused(&in_full_env(), "jane", Kind::ServiceAccount, Some(account(label)), plain);
    assert_eq!(stripped, ["BASE001 metadata.labels nothing"]);
    let both = refused(&in_full_env(), "jane", Kind::ServiceAccount, None, Some(account(json!({"a": "b"}))));
    assert_eq!(both, [""; 0]);
}

#[test]
fn what_ends_with_its_namespace_may_be_deleted_by_anyone() {
    let role = desired_object(NAMESPACE, BaselineKind::Role, "codex-runner");
    assert_eq!(
        refused(&in_full_env(), "jane", Kind::Role, Some(role.clone()), None),
        [r#"BASE002 metadata.name "codex-runner""#]
    );
    let mut ending = in_full_env();
    let mut namespace = (**ending.namespace.as_ref().unwrap()).clone();
    namespace.terminating = true;
    ending.namespace = Some(Arc::new(namespace));
    assert_eq!(refused(&ending, "jane", Kind::Role, Some(role.clone()), None), [""; 0]);
    for user in [
        WORKER,
        RECONCILER,
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:generic-garbage-collector",
    ] {
        assert_eq!(refused(&in_full_env(), user, Kind::Role, Some(role.clone()), None), [""; 0], "{user}");
    }
}

#[test]
fn a_quotas_status_and_the_labels_beside_it_are_written_by_the_cluster_alone() {
    let old = json!({"metadata": {"name": "q", "labels": {"a": "b"}}, "status": {"used": {"pods": "20"}}});
    let mut forged = old.clone();
    forged["status"]["used"]["pods"] = "0".into();
    let mut relabelled = old.clone();
    relabelled["metadata"]["labels"]["a"] = "c".into();
    let of = |user, new: &Value| {
        let mut evaluated = request(user, Kind::ResourceQuota, Some(old.clone()), Some(new.clone()));
        evaluated.subresource = Some("status");
        refusals(&RunPolicy::default(), &in_full_env(), &evaluated)
    };
    for user in ["jane", WORKER, RECONCILER, "system:serviceaccount:kube-system:job-controller"] {
        assert_eq!(of(user, &forged), [r#"BASE003 status {"used":{"pods":"0"}}"#], "{user}");
        assert_eq!(of(user, &relabelled), [r#"BASE003 metadata.labels.a "c""#], "{user}");
        assert_eq!(of(user, &old), [""; 0]);
    }
    for user in ["system:serviceaccount:kube-system:resourcequota-controller", "system:apiserver"] {
        assert_eq!(of(user, &forged), [""; 0], "{user}");
    }
}
