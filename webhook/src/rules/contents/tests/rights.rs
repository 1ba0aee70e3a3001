//! Tests of the rules about Roles, bindings and tokens.

use super::*;
use crate::rules::requester::KUBELETS;

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
fn a_role_of_too_many_rules_or_values_is_refused_as_a_whole_unless_it_was_there_already() {
    let named =
        |index: usize| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": [format!("v{index}")]});
    let many = |count: usize| role(&(0..count).map(named).collect());
    let of = |old: Option<Value>, new: Value| refused(&in_full_env(), "jane", Kind::Role, old, Some(new));
    let found = of(None, many(256));
    assert_eq!((found.len(), found[0].as_str()), (256, r#"RBAC001 rules[0] verb "v0" on "secrets""#));
    assert_eq!(of(None, many(257)), ["RBAC001 rules 257 rules"]);
    let verbs: Vec<_> = (0..2000).map(|index| format!("v{index}")).collect();
    let wide = role(&json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}]));
    assert_eq!(of(None, wide), ["RBAC001 rules 2002 groups, resources, verbs and names"]);
    assert_eq!(of(Some(many(5000)), many(5000)), [""; 0]);
    assert_eq!(of(Some(many(5000)), many(200)), [""; 0], "rules that stay are not news");
    let other = role(&json!([granting("secrets", "get")]));
    assert_eq!(of(Some(many(5000)), other), [r#"RBAC001 rules[0] verb "get" on "secrets""#]);
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
fn a_user_who_breaks_the_glass_is_warned() {
    let policy = RunPolicy::from_yaml(
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nidentities: {breakGlass: {users: [rescuer]}}\n",
    )
    .unwrap();
    let role = desired_object(NAMESPACE, BaselineKind::Role, "codex-runner");
    let evaluated = request("rescuer", Kind::Role, Some(role), None);
    let verdict = crate::rules::decide(&policy, &in_full_env(), &evaluated, Entry::Validate);
    assert!(verdict.is_allowed());
    assert_eq!(verdict.findings.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["BASE002"]);
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
        account("codex-k8s-dev-77"),
        json!({"kind": "User", "name": "system:serviceaccount:experiment:codex-runner"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:experiment"}),
        json!({"kind": "Group", "name": "system:serviceaccounts"}),
        json!({"kind": "Group", "name": "system:authenticated"}),
        json!({"kind": "Group", "name": "system:unauthenticated"}),
        json!({"kind": "User", "name": "system:anonymous"}),
    ] {
        assert_eq!(of(&known, subject.clone()), 1, "{subject}");
    }
    for subject in [
        account("payments"),
        account("kube-system"),
        account("payments-dev-77"),
        account("codex-k8s-dev-notes"),
        json!({"kind": "User", "name": "system:authenticated"}),
        json!({"kind": "Group", "name": "system:masters"}),
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
fn all_users_are_bound_to_what_the_policy_lists_for_them_and_to_nothing_else() {
    let facts = Facts::at("2026-02-01T12:00:00Z".parse().unwrap());
    let of = |kind: &str, role: &str| {
        let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "Group", "name": "system:authenticated"}]});
        refused(&facts, "jane", Kind::ClusterRoleBinding, None, Some(binding)).len()
    };
    assert_eq!(of("ClusterRole", "system:discovery"), 0);
    assert_eq!(of("Role", "system:discovery"), 1, "a namesake of another kind");
    for role in ["cluster-admin", "edit", "system:discovery2"] {
        assert_eq!(of("ClusterRole", role), 1, "{role}");
    }
}

#[test]
fn what_all_users_are_bound_to_is_not_widened_in_any_way() {
    let facts = Facts::at("2026-02-01T12:00:00Z".parse().unwrap());
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let urls = |urls: &[&str], verbs: &[&str]| json!({"nonResourceURLs": urls, "verbs": verbs});
    let of = |user, name: &str, old: Option<Value>, new: Value| {
        let new = role(name, new);
        refused(&facts, user, Kind::ClusterRole, old.map(|old| role(name, old)), Some(new))
    };
    let name = "system:discovery";
    let old = json!([urls(&["/api", "/api/*"], &["get"]), granting("pods", "get")]);
    for (rules, found) in [
        (json!([granting("secrets", "get")]), r#"verb "get" on "secrets""#),
        (json!([granting("pods", "*")]), r#"verb "*" on "pods""#),
        (json!([urls(&["/metrics"], &["get"])]), r#"verb "get" on path "/metrics""#),
        (json!([urls(&["*"], &["get"])]), r#"verb "get" on path "*""#),
        (json!([urls(&["/api"], &["post"])]), r#"verb "post" on path "/api""#),
    ] {
        let expected = [format!("RBAC004 rules[0] {found}")];
        assert_eq!(of("jane", name, Some(old.clone()), rules.clone()), expected);
        assert_eq!(of("jane", name, None, rules.clone()), expected, "created");
        let filled_in = "system:serviceaccount:kube-system:clusterrole-aggregation-controller";
        assert_eq!(of(filled_in, name, Some(old.clone()), rules.clone()), expected);
        assert_eq!(of(API_SERVER, name, Some(old.clone()), rules.clone()), [""; 0]);
        assert_eq!(of("jane", "view", Some(old.clone()), rules), [""; 0], "another role");
    }
    for rules in [json!([]), json!(null), old.clone(), json!([urls(&["/api/v1", "/api/apps*"], &["get"])])] {
        assert_eq!(of("jane", name, Some(old.clone()), rules), [""; 0]);
    }
    let mut aggregated = role(name, old.clone());
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let of =
        |old: &Value| refused(&facts, "jane", Kind::ClusterRole, Some(old.clone()), Some(aggregated.clone()));
    assert_eq!(
        of(&role(name, old.clone())),
        [r#"RBAC004 aggregationRule {"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}"#]
    );
    assert_eq!(of(&aggregated), [""; 0]);
    let many: Value = (0..20_000).map(|number| granting(&format!("r{number}"), "get")).collect();
    let begun = std::time::Instant::now();
    let found = refused(&facts, "jane", Kind::ClusterRole, Some(role(name, old)), Some(role(name, many)));
    assert_eq!(found.len(), 64);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
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
fn the_api_servers_own_bindings_are_never_evaluated() {
    let all = json!({"metadata": {"name": "system:service-account-issuer-discovery"},
        "subjects": [{"kind": "Group", "name": "system:serviceaccounts"}]});
    let facts = Facts::at("2026-02-01T12:00:00Z".parse().unwrap());
    assert_eq!(refused(&facts, API_SERVER, Kind::ClusterRoleBinding, None, Some(all)), [""; 0]);
}

#[test]
fn a_kubelet_requests_any_token_that_its_pods_were_admitted_with() {
    let evaluated = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 86_400}});
    let mut kubelet = request("system:node:n1", Kind::TokenRequest, None, Some(evaluated.clone()));
    kubelet.groups = vec![KUBELETS];
    assert_eq!(refusals(&RunPolicy::default(), &in_full_env(), &kubelet), [""; 0]);
    assert_eq!(
        refused(&in_full_env(), "system:node:n1", Kind::TokenRequest, None, Some(evaluated)),
        [r#"TOKEN001 spec.audiences[0] "vault""#, "TOKEN001 spec.expirationSeconds 86400"]
    );
}
