//! Roles and bindings: nothing in a run namespace, and nothing elsewhere, gives an agent more than its profile.

use codex_k8s_tests::Identity;
use codex_k8s_tests::identity::EVERY_RIGHT;
use serde_json::{Value, json};

use crate::guard::path;
use crate::harness::*;

const API: &str = "rbac.authorization.k8s.io/v1";
const CLUSTER: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

fn role(name: &str, rules: &Value) -> Value {
    json!({"apiVersion": API, "kind": "Role", "metadata": {"name": name}, "rules": rules})
}

fn granting(group: &str, resource: &str, verb: &str) -> Value {
    json!([{"apiGroups": [group], "resources": [resource], "verbs": [verb]}])
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn named(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

fn binding(kind: &str, name: &str, role: &Value, subjects: &[Value]) -> Value {
    json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "roleRef": role, "subjects": subjects})
}

/// A `ClusterRoleBinding` of the harmless role `view`.
fn view(subjects: &[Value]) -> Value {
    binding("ClusterRoleBinding", &format!("guard-{}", unique()), &named("ClusterRole", "view"), subjects)
}

#[test]
fn a_role_that_grants_more_than_the_profiles_is_refused_to_everyone() {
    let namespace = managed();
    for (group, resource, verb) in [
        ("*", "*", "*"),
        ("", "*", "get"),
        ("", "pods/*", "get"),
        ("", "pods", "*"),
        ("", "pods", "create"),
        ("", "pods/attach", "create"),
        ("", "nodes/proxy", "get"),
        ("", "secrets", "get"),
        ("", "secrets", "list"),
        ("", "serviceaccounts", "impersonate"),
        ("", "serviceaccounts/token", "create"),
        ("", "resourcequotas", "delete"),
        ("apps", "*/scale", "update"),
        ("rbac.authorization.k8s.io", "roles", "escalate"),
        ("rbac.authorization.k8s.io", "roles", "bind"),
        ("rbac.authorization.k8s.io", "rolebindings", "create"),
    ] {
        let role = role("mine", &granting(group, resource, verb));
        for identity in
            [Identity::agent(&namespace), Identity::developer(), Identity::Admin, Identity::worker()]
        {
            let words = format!("verb {verb:?} on {resource:?}");
            create(&identity, &path(&namespace, "roles"), &role).refused(403, "RBAC001", "rules[0]", &words);
        }
    }
}

#[test]
fn a_role_that_stays_within_the_profiles_is_admitted_and_not_widened_later() {
    let namespace = managed();
    let developer = Identity::developer();
    let at = path(&namespace, "roles");
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"], "resourceNames": ["mine"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list", "watch"]},
    ]);
    create(&developer, &at, &role("mine", &rules)).admitted();
    let wider = json!({"rules": granting("", "secrets", "get")});
    patch_at(&developer, format!("{at}/mine"), MERGE, &wider).refused(
        403,
        "RBAC001",
        "rules[0]",
        "verb \"get\" on \"secrets\"",
    );
    let narrower = json!({"rules": granting("", "pods/exec", "create")});
    patch_at(&developer, format!("{at}/mine"), MERGE, &narrower).admitted();
}

#[test]
fn a_code_only_namespace_has_no_roles_to_speak_of() {
    let namespace = code_only();
    let reading = role("mine", &granting("", "pods", "get"));
    create(&Identity::developer(), &path(&namespace, "roles"), &reading)
        .refused(403, "RBAC001", "rules[0]", "pods");
}

#[test]
fn a_role_binding_binds_no_role_but_the_profiles() {
    let namespace = managed();
    let own = [account(&namespace, "default")];
    let refused = ["cluster-admin", "admin", "edit", "view"].map(|name| named("ClusterRole", name));
    let same_name = named("ClusterRole", "codex-runner");
    for role in refused.iter().chain([&same_name, &named("Role", "mine")]) {
        let binding = binding("RoleBinding", "mine", role, &own);
        for identity in
            [Identity::agent(&namespace), Identity::developer(), Identity::Admin, Identity::worker()]
        {
            create(&identity, &path(&namespace, "rolebindings"), &binding).refused(
                403,
                "RBAC002",
                "roleRef",
                "expected Role codex-runner or Role codex-runner-readonly",
            );
        }
    }
}

#[test]
fn a_role_binding_binds_nobody_but_the_namespaces_own_service_accounts() {
    let (namespace, other) = (managed(), unmanaged());
    let bindings = path(&namespace, "rolebindings");
    let role = named("Role", "codex-runner");
    for subject in [
        named("Group", "system:serviceaccounts"),
        named("Group", "system:authenticated"),
        named("Group", "system:unauthenticated"),
        named("Group", &format!("system:serviceaccounts:{other}")),
        named("Group", &format!("system:serviceaccounts:{namespace}")),
        named("User", "jane"),
        named("User", &format!("system:serviceaccount:{other}:default")),
        account(&other, "default"),
        account("kube-system", "default"),
    ] {
        let subjects = [account(&namespace, "default"), subject];
        let binding = binding("RoleBinding", "mine", &role, &subjects);
        create(&Identity::developer(), &bindings, &binding).refused(
            403,
            "RBAC002",
            "subjects[1]",
            &format!("expected a ServiceAccount of namespace {namespace}"),
        );
    }
    let own = binding("RoleBinding", "mine", &role, &[account(&namespace, "default")]);
    create(&Identity::developer(), &bindings, &own).admitted();
    let more = json!({"subjects": [account(&namespace, "default"), named("User", "jane")]});
    patch_at(&Identity::developer(), format!("{bindings}/mine"), MERGE, &more).refused(
        403,
        "RBAC002",
        "subjects[1]",
        "found User \"jane\"",
    );
}

#[test]
fn a_cluster_role_binding_names_no_service_account_of_a_run_namespace() {
    let (reserved, a_slot) = (managed(), slot());
    for subject in [
        account(&reserved, "codex-runner"),
        account(&a_slot, "codex-runner"),
        account("codex-issue-not-born-yet", "codex-runner"),
        named("User", &format!("system:serviceaccount:{reserved}:codex-runner")),
        named("User", &format!("system:serviceaccount:{a_slot}:codex-runner")),
        named("Group", &format!("system:serviceaccounts:{reserved}")),
        named("Group", &format!("system:serviceaccounts:{a_slot}")),
        named("Group", "system:serviceaccounts"),
    ] {
        for identity in
            [Identity::agent(&reserved), Identity::developer(), Identity::Admin, Identity::worker()]
        {
            create(&identity, CLUSTER, &view(std::slice::from_ref(&subject))).refused(
                403,
                "RBAC003",
                "subjects[0]",
                subject["name"].as_str().unwrap(),
            );
        }
    }
}

#[test]
fn a_role_binding_in_another_namespace_names_no_service_account_of_a_run_namespace() {
    let (reserved, a_slot, elsewhere) = (managed(), slot(), unmanaged());
    let bindings = path(&elsewhere, "rolebindings");
    for namespace in [&reserved, &a_slot] {
        let subjects = [account(&elsewhere, "default"), account(namespace, "codex-runner")];
        let binding = binding("RoleBinding", "mine", &named("ClusterRole", "edit"), &subjects);
        create(&Identity::developer(), &bindings, &binding).refused(
            403,
            "RBAC003",
            "subjects[1]",
            "a run has rights in its own namespace alone",
        );
    }
}

#[test]
fn bindings_that_are_none_of_our_business_pass_and_so_do_changes_of_what_is_there() {
    let (elsewhere, other) = (unmanaged(), unmanaged());
    let developer = Identity::developer();
    let binding = view(&[account(&elsewhere, "default"), named("User", "jane"), named("Group", "sre")]);
    let stored = create(&developer, CLUSTER, &binding).admitted();
    let at = format!("{CLUSTER}/{}", stored["metadata"]["name"].as_str().unwrap());
    let more = json!({"subjects": [account(&elsewhere, "default"), account(&other, "default")]});
    patch_at(&developer, at.clone(), MERGE, &more).admitted();
    let agent = json!({"subjects": [account(&elsewhere, "default"), account(&managed(), "codex-runner")]});
    patch_at(&developer, at, MERGE, &agent).refused(403, "RBAC003", "subjects[1]", "codex-runner");
    // It named every ServiceAccount before there were rules.
    let noted = json!({"metadata": {"annotations": {"seen": "yes"}}});
    patch_at(&developer, format!("{CLUSTER}/{EVERY_RIGHT}"), MERGE, &noted).admitted();
}

#[test]
fn a_binding_of_thousands_is_admitted_and_hides_nobody() {
    let developer = Identity::developer();
    let mut subjects: Vec<_> =
        (0..5000).map(|number| named("User", &format!("somebody-{number}@example.dev"))).collect();
    let stored = create(&developer, CLUSTER, &view(&subjects)).admitted();
    let at = format!("{CLUSTER}/{}", stored["metadata"]["name"].as_str().unwrap());
    let (a_slot, elsewhere) = (slot(), unmanaged());
    subjects.extend((0..3000).map(|number| account(&elsewhere, &format!("robot-{number}"))));
    patch_at(&developer, at.clone(), MERGE, &json!({"subjects": subjects})).admitted();
    for namespace in [a_slot, managed()] {
        let mut more = subjects.clone();
        more.push(account(&namespace, "codex-runner"));
        patch_at(&developer, at.clone(), MERGE, &json!({"subjects": more})).refused(
            403,
            "RBAC003",
            "subjects[8000]",
            &namespace,
        );
    }
}

#[test]
fn the_platform_deploys_its_own_copies_with_all_their_rights_into_a_slot() {
    let slot = slot();
    let platform = Identity::platform_control_plane();
    let copy = account(&slot, "codex-k8s-control-plane");
    let star = role("platform", &granting("*", "*", "*"));
    create(&platform, &path(&slot, "roles"), &star).admitted();
    let within = binding("RoleBinding", "platform", &named("Role", "platform"), std::slice::from_ref(&copy));
    create(&platform, &path(&slot, "rolebindings"), &within).admitted();
    create(&platform, CLUSTER, &view(std::slice::from_ref(&copy))).admitted();
    create(&Identity::developer(), CLUSTER, &view(&[copy])).refused(403, "RBAC003", "subjects[0]", &slot);
    create(&platform, CLUSTER, &view(&[account(&slot, "codex-runner")])).refused(
        403,
        "RBAC003",
        "subjects[0]",
        "codex-runner",
    );
    let other = role("another", &granting("*", "*", "*"));
    create(&Identity::agent(&slot), &path(&slot, "roles"), &other).refused(
        403,
        "RBAC001",
        "rules[0]",
        "verb \"*\"",
    );
}
