//! Decisions about what a namespace holds that a real API server cannot easily be brought to ask for.

use std::sync::Arc;

use codex_k8s_shared::baseline;
use codex_k8s_shared::run::RuntimeMode;
use serde_json::json;

use super::*;

const WORKER: &str = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";
const NAMESPACE: &str = "codex-issue-1";
const SLOT: &str = "codex-k8s-dev-1";

fn facts(namespace: &str, mode: RuntimeMode) -> Facts {
    let namespace = ManagedNamespace {
        name: namespace.into(),
        mode,
        run_id: "r1".into(),
        project_id: "p1".into(),
        correlation_id: None,
        expires_at: None,
        terminating: false,
        ready: true,
        waits_for: None,
    };
    let at = "2026-02-01T12:00:00Z".parse().unwrap();
    Facts { namespace: Some(Arc::new(namespace)), requester_is_managed: true, ..Facts::at(at) }
}

fn in_full_env() -> Facts {
    facts(NAMESPACE, RuntimeMode::FullEnv)
}

fn request(user: &str, kind: Kind, old: Option<Value>, new: Option<Value>) -> Request<'_> {
    let operation = match (&old, &new) {
        (None, _) => crate::review::Operation::Create,
        (_, None) => crate::review::Operation::Delete,
        _ => crate::review::Operation::Update,
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

fn refusals(policy: &RunPolicy, facts: &Facts, request: &Request<'_>) -> Vec<String> {
    let verdict = super::super::decide(policy, facts, request, Entry::Validate);
    verdict
        .denials()
        .map(|finding| format!("{} {} {}", finding.rule.id, finding.path, finding.found))
        .collect()
}

/// What is refused under the default policy.
fn refused(facts: &Facts, user: &str, kind: Kind, old: Option<Value>, new: Option<Value>) -> Vec<String> {
    refusals(&RunPolicy::default(), facts, &request(user, kind, old, new))
}

fn mended(facts: &Facts, user: &str, kind: Kind, old: Option<Value>, new: &Value) -> Value {
    let asked = request(user, kind, old, Some(new.clone()));
    let verdict = super::super::decide(&RunPolicy::default(), facts, &asked, Entry::Mutate);
    let mut object = new.clone();
    json_patch::patch(&mut object, &verdict.patch).unwrap();
    object
}

fn wanted(namespace: &str, kind: BaselineKind, name: &str) -> Value {
    baseline::wanted(&RunPolicy::default(), namespace, RuntimeMode::FullEnv, kind, name).unwrap().object
}

#[test]
fn what_a_manager_writes_under_a_baseline_name_becomes_the_policys() {
    let quota = json!({"metadata": {"name": "codex-run-quota"}, "spec": {"hard": {"pods": "20"}, "scopes": ["BestEffort"]}});
    let stored = mended(&in_full_env(), WORKER, Kind::ResourceQuota, None, &quota);
    assert_eq!(stored["spec"], wanted(NAMESPACE, BaselineKind::ResourceQuota, "codex-run-quota")["spec"]);
    assert_eq!(stored["metadata"]["labels"]["codex-k8s.dev/managed-by"], "codex-k8s-worker");
    let star = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    for name in ["codex-runner", "codex-runner-readonly"] {
        let role = json!({"metadata": {"name": name, "annotations": {"of": "the platform"}}, "rules": star});
        let stored = mended(&in_full_env(), WORKER, Kind::Role, None, &role);
        assert_eq!(stored["rules"], wanted(NAMESPACE, BaselineKind::Role, name)["rules"]);
        assert_eq!(stored["metadata"]["annotations"]["of"], "the platform");
    }
}

#[test]
fn nobody_elses_write_is_mended_and_no_managers_write_is_refused() {
    let quota = json!({"metadata": {"name": "codex-run-quota"}, "spec": {"hard": {"pods": "2000"}}});
    for user in ["jane", RECONCILER, "system:serviceaccount:codex-issue-1:codex-runner"] {
        assert_eq!(mended(&in_full_env(), user, Kind::ResourceQuota, None, &quota), quota, "{user}");
    }
    assert_eq!(refused(&in_full_env(), WORKER, Kind::ResourceQuota, None, Some(quota)), [""; 0]);
}

#[test]
fn where_the_policy_wants_no_such_object_a_managers_is_left_as_it_is() {
    let limits = json!({"metadata": {"name": "codex-run-limits"}, "spec": {"limits": []}});
    let slot = facts(SLOT, RuntimeMode::FullEnv);
    assert_eq!(mended(&slot, WORKER, Kind::LimitRange, None, &limits), limits);
    let own = json!({"metadata": {"name": "platform"}, "rules": []});
    assert_eq!(mended(&slot, WORKER, Kind::Role, None, &own), own);
}

#[test]
fn a_role_ref_is_set_only_where_the_stored_one_is_right_already() {
    let right = wanted(NAMESPACE, BaselineKind::RoleBinding, "codex-runner");
    let mut wrong = right.clone();
    wrong["roleRef"]["name"] = "admin".into();
    wrong["subjects"] = json!([]);
    let born = mended(&in_full_env(), WORKER, Kind::RoleBinding, None, &wrong);
    assert_eq!(born, right);
    let kept = mended(&in_full_env(), WORKER, Kind::RoleBinding, Some(right.clone()), &wrong);
    assert_eq!(kept, right);
    let stuck = mended(&in_full_env(), WORKER, Kind::RoleBinding, Some(wrong.clone()), &wrong);
    assert_eq!((&stuck["roleRef"], &stuck["subjects"]), (&wrong["roleRef"], &right["subjects"]));
}

#[test]
fn a_baseline_object_that_is_written_back_as_it_is_passes() {
    let role = wanted(NAMESPACE, BaselineKind::Role, "codex-runner");
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
    let role = wanted(NAMESPACE, BaselineKind::Role, "codex-runner");
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
        let mut asked = request(user, Kind::ResourceQuota, Some(old.clone()), Some(new.clone()));
        asked.subresource = Some("status");
        refusals(&RunPolicy::default(), &in_full_env(), &asked)
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

fn role(rules: &Value) -> Value {
    json!({"metadata": {"name": "mine"}, "rules": rules})
}

fn granting(resources: &str, verb: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resources], "verbs": [verb]})
}

#[test]
fn what_a_role_grants_already_is_no_news_however_it_is_written() {
    let wide =
        role(&json!([granting("pods", "get"), granting("secrets", "list"), granting("secrets", "get")]));
    let narrower = role(&json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]));
    let wider = role(&json!([granting("secrets", "*")]));
    let of = |old: &Value, new: &Value| {
        refused(&in_full_env(), "jane", Kind::Role, Some(old.clone()), Some(new.clone()))
    };
    assert_eq!(of(&wide, &narrower), [""; 0]);
    assert_eq!(of(&wide, &wider), [r#"RBAC001 rules[0] verb "*" on "secrets""#]);
}

#[test]
fn a_role_in_a_code_only_namespace_grants_nothing() {
    let code_only = facts(NAMESPACE, RuntimeMode::CodeOnly);
    let reading = role(&json!([granting("pods", "get")]));
    assert_eq!(refused(&in_full_env(), "jane", Kind::Role, None, Some(reading.clone())), [""; 0]);
    assert_eq!(
        refused(&code_only, "jane", Kind::Role, None, Some(reading)),
        [r#"RBAC001 rules[0] verb "get" on "pods""#]
    );
    assert_eq!(refused(&code_only, "jane", Kind::Role, None, Some(role(&json!([])))), [""; 0]);
}

#[test]
fn a_role_never_speaks_of_urls() {
    let urls = role(&json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]));
    assert_eq!(
        refused(&in_full_env(), "jane", Kind::Role, None, Some(urls.clone())),
        [r#"RBAC001 rules[0].nonResourceURLs ["/metrics"]"#]
    );
    assert_eq!(refused(&in_full_env(), "jane", Kind::Role, Some(urls.clone()), Some(urls)), [""; 0]);
}

#[test]
fn managers_own_roles_and_bindings_in_a_slot_are_left_alone_and_elsewhere_they_are_not() {
    let star = role(&json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
    let bound = json!({"metadata": {"name": "mine"}, "roleRef": {"kind": "ClusterRole", "name": "admin"}});
    let slot = facts(SLOT, RuntimeMode::FullEnv);
    for (kind, object, rule) in [(Kind::Role, star, "RBAC001"), (Kind::RoleBinding, bound, "RBAC002")] {
        assert_eq!(refused(&slot, WORKER, kind, None, Some(object.clone())), [""; 0]);
        let found = refused(&in_full_env(), WORKER, kind, None, Some(object.clone()));
        assert!(found.len() == 1 && found[0].starts_with(rule), "{found:?}");
        assert_eq!(refused(&slot, "jane", kind, None, Some(object)).len(), 1);
    }
}

#[test]
fn the_policy_lists_further_roles_and_subjects() {
    let policy = RunPolicy::from_yaml(
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrbac: {roles: [reader], clusterRoles: [view], \
         subjects: {users: [jane], groups: [sre]}}\n",
    )
    .unwrap();
    let binding = |kind: &str, role: &str, subject: &str, name: &str| {
        json!({"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": subject, "name": name}]})
    };
    let of =
        |object| refusals(&policy, &in_full_env(), &request("jane", Kind::RoleBinding, None, Some(object)));
    assert_eq!(of(binding("Role", "reader", "User", "jane")), [""; 0]);
    assert_eq!(of(binding("ClusterRole", "view", "Group", "sre")), [""; 0]);
    assert_eq!(of(binding("ClusterRole", "reader", "User", "sre")).len(), 2, "neither is of the other kind");
}

#[test]
fn a_binding_elsewhere_reaches_into_no_run_namespace() {
    let elsewhere = |named: &[&str]| Facts {
        named: named.iter().map(|&name| name.into()).collect(),
        ..Facts::at("2026-02-01T12:00:00Z".parse().unwrap())
    };
    let binding = |subject: &Value| json!({"metadata": {"name": "b"}, "subjects": [subject]});
    let account =
        |namespace: &str| json!({"kind": "ServiceAccount", "namespace": namespace, "name": "default"});
    let of = |facts: &Facts, subject: Value| {
        refused(facts, "jane", Kind::ClusterRoleBinding, None, Some(binding(&subject))).len()
    };
    let known = elsewhere(&["experiment"]);
    for subject in [
        account("experiment"),
        account("codex-issue-not-born-yet"),
        json!({"kind": "User", "name": "system:serviceaccount:experiment:codex-runner"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:experiment"}),
        json!({"kind": "Group", "name": "system:serviceaccounts"}),
    ] {
        assert_eq!(of(&known, subject.clone()), 1, "{subject}");
    }
    for subject in [
        account("payments"),
        account("kube-system"),
        json!({"kind": "User", "name": "experiment"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:payments"}),
        json!({"kind": "Group", "name": "experiment"}),
    ] {
        assert_eq!(of(&known, subject.clone()), 0, "{subject}");
    }
    let named = binding(&account("experiment"));
    assert_eq!(refused(&known, "jane", Kind::RoleBinding, Some(named.clone()), Some(named)), [""; 0]);
}

#[test]
fn a_manager_binds_the_platforms_own_copies_in_slots_and_nothing_else() {
    let known = Facts {
        named: vec![SLOT.into(), "experiment".into()],
        ..Facts::at("2026-02-01T12:00:00Z".parse().unwrap())
    };
    let of = |user, namespace: &str, name: &str| {
        let subject = json!({"kind": "ServiceAccount", "namespace": namespace, "name": name});
        let binding = json!({"metadata": {"name": "b"}, "subjects": [subject]});
        refused(&known, user, Kind::ClusterRoleBinding, None, Some(binding)).len()
    };
    assert_eq!(of(WORKER, SLOT, "codex-k8s-worker"), 0);
    assert_eq!(of("jane", SLOT, "codex-k8s-worker"), 1);
    assert_eq!(of(WORKER, SLOT, "codex-runner"), 1);
    assert_eq!(of(WORKER, "experiment", "codex-k8s-worker"), 1, "no slot");
}

#[test]
fn the_api_servers_own_bindings_are_never_judged() {
    let all = json!({"metadata": {"name": "system:service-account-issuer-discovery"},
        "subjects": [{"kind": "Group", "name": "system:serviceaccounts"}]});
    let facts = Facts::at("2026-02-01T12:00:00Z".parse().unwrap());
    assert_eq!(refused(&facts, API_SERVER, Kind::ClusterRoleBinding, None, Some(all)), [""; 0]);
}

#[test]
fn a_kubelet_asks_for_whatever_token_its_pods_were_admitted_with() {
    let asked = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 86_400}});
    let mut kubelet = request("system:node:n1", Kind::TokenRequest, None, Some(asked.clone()));
    kubelet.groups = vec![KUBELETS];
    assert_eq!(refusals(&RunPolicy::default(), &in_full_env(), &kubelet), [""; 0]);
    assert_eq!(
        refused(&in_full_env(), "system:node:n1", Kind::TokenRequest, None, Some(asked)),
        [r#"TOKEN001 spec.audiences[0] "vault""#, "TOKEN001 spec.expirationSeconds 86400"]
    );
}
