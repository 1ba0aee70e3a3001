//! Roles and bindings: nothing in a run namespace, and nothing elsewhere, gives an agent more than its profile.

use codex_k8s_tests::Identity;
use codex_k8s_tests::identity::EVERY_RIGHT;
use serde_json::{Value, json};

use crate::guard::{get, path};
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
                "must be Role codex-runner or Role codex-runner-readonly",
            );
        }
    }
}

#[test]
fn a_role_binding_binds_no_one_but_the_namespaces_own_service_accounts() {
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
            &format!("must be a ServiceAccount of namespace {namespace}"),
        );
    }
    let own = binding("RoleBinding", "mine", &role, &[account(&namespace, "default")]);
    create(&Identity::developer(), &bindings, &own).admitted();
    let more = json!({"subjects": [account(&namespace, "default"), named("User", "jane")]});
    patch_at(&Identity::developer(), format!("{bindings}/mine"), MERGE, &more).refused(
        403,
        "RBAC002",
        "subjects[1]",
        "Invalid value: User \"jane\"",
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
    // Kubernetes bound all users before the rules were registered.
    let noted = json!({"metadata": {"annotations": {"seen": "yes"}}});
    for name in [EVERY_RIGHT, "system:discovery", "system:service-account-issuer-discovery"] {
        patch_at(&developer, format!("{CLUSTER}/{name}"), MERGE, &noted).admitted();
    }
}

#[test]
fn a_binding_of_thousands_is_admitted_and_hides_no_one() {
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

/// Identities that RBAC lets create any binding.
fn all_kinds_of_callers() -> [Identity; 3] {
    [Identity::developer(), Identity::Admin, Identity::worker()]
}

/// Sends a binding under a name of its own as each of these callers; each is refused, and it does not exist afterwards.
#[track_caller]
fn is_refused_to_all(collection: &str, mut object: Value, rule: &str, field: &str, words: &str) {
    let name = format!("waiting-{}", unique());
    object["metadata"]["name"] = name.as_str().into();
    for identity in all_kinds_of_callers() {
        create(&identity, collection, &object).refused(403, rule, field, words);
    }
    assert_eq!(get(format!("{collection}/{name}")).code, 404);
}

#[test]
fn a_binding_that_waits_for_the_name_of_a_run_namespace_is_refused_before_there_is_one() {
    let elsewhere = unmanaged();
    for future in [slot_name(), format!("codex-issue-{}", unique())] {
        assert_eq!(get(format!("/api/v1/namespaces/{future}")).code, 404);
        for subject in [
            account(&future, "codex-runner"),
            named("User", &format!("system:serviceaccount:{future}:codex-runner")),
            named("Group", &format!("system:serviceaccounts:{future}")),
        ] {
            let role = named("ClusterRole", "cluster-admin");
            let subjects = [account(&elsewhere, "default"), subject];
            let found = format!("Invalid value: {}", subjects[1]["kind"].as_str().unwrap());
            let whole = binding("ClusterRoleBinding", "b", &role, &subjects);
            is_refused_to_all(CLUSTER, whole, "RBAC003", "subjects[1]", &found);
            let single = binding("RoleBinding", "b", &role, &subjects);
            is_refused_to_all(&path(&elsewhere, "rolebindings"), single, "RBAC003", "subjects[1]", &found);
        }
    }
}

#[test]
fn a_binding_of_all_users_is_a_binding_of_every_agent() {
    let elsewhere = unmanaged();
    let everybody = [
        named("Group", "system:authenticated"),
        named("Group", "system:unauthenticated"),
        named("Group", "system:serviceaccounts"),
        named("User", "system:anonymous"),
    ];
    for subject in &everybody {
        let subjects = [account(&elsewhere, "default"), subject.clone()];
        for role in ["cluster-admin", "edit", "view"] {
            let role = named("ClusterRole", role);
            let words = "it includes the agents of every run namespace";
            let whole = binding("ClusterRoleBinding", "b", &role, &subjects);
            is_refused_to_all(CLUSTER, whole, "RBAC003", "subjects[1]", words);
            let single = binding("RoleBinding", "b", &role, &subjects);
            is_refused_to_all(&path(&elsewhere, "rolebindings"), single, "RBAC003", "subjects[1]", words);
        }
    }
    // Added to an existing binding.
    let stored = create(&Identity::developer(), CLUSTER, &view(&[named("User", "jane")])).admitted();
    let at = format!("{CLUSTER}/{}", stored["metadata"]["name"].as_str().unwrap());
    let more = json!({"subjects": [named("User", "jane"), everybody[0]]});
    patch_at(&Identity::developer(), at.clone(), MERGE, &more).refused(
        403,
        "RBAC003",
        "subjects[1]",
        "Group \"system:authenticated\"",
    );
    assert_eq!(get(at).body["subjects"].as_array().unwrap().len(), 1);
    // As Kubernetes itself does.
    let listed =
        binding("ClusterRoleBinding", "b", &named("ClusterRole", "system:public-info-viewer"), &everybody);
    let mut named_once = listed;
    named_once["metadata"]["name"] = format!("guard-{}", unique()).into();
    create(&Identity::developer(), CLUSTER, &named_once).admitted();
}

#[test]
fn a_cluster_role_that_all_users_hold_is_not_widened_and_others_are() {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let read = |name: &str| get(format!("{ROLES}/{name}")).body;
    let aggregated = json!({"clusterRoleSelectors": [{"matchLabels": {"to-all": "true"}}]});
    for name in ["system:discovery", "system:basic-user", "system:public-info-viewer"] {
        let before = read(name);
        let mut rules = before["rules"].as_array().unwrap().clone();
        rules.insert(0, granting("", "secrets", "get")[0].clone());
        for identity in all_kinds_of_callers() {
            let at = || format!("{ROLES}/{name}");
            let words = "verb \"get\" on \"secrets\"";
            patch_at(&identity, at(), MERGE, &json!({"rules": rules}))
                .refused(403, "RBAC004", "rules[0]", words);
            patch_at(&identity, at(), MERGE, &json!({"aggregationRule": aggregated})).refused(
                403,
                "RBAC004",
                "aggregationRule",
                "to-all",
            );
        }
        let noted = json!({"metadata": {"annotations": {"seen": "yes"}}, "rules": [before["rules"][0]]});
        patch_at(&Identity::developer(), format!("{ROLES}/{name}?dryRun=All"), MERGE, &noted).admitted();
        let after = read(name);
        assert_eq!((&after["rules"], &after["aggregationRule"]), (&before["rules"], &Value::Null));
    }
    let name = format!("guard-{}", unique());
    let role = json!({"apiVersion": API, "kind": "ClusterRole", "metadata": {"name": name}, "rules": granting("", "pods", "get")});
    create(&Identity::developer(), ROLES, &role).admitted();
    let wider = json!({"rules": granting("", "secrets", "get")});
    patch_at(&Identity::developer(), format!("{ROLES}/{name}"), MERGE, &wider).admitted();
}

#[test]
fn a_binding_of_nine_thousand_accounts_of_other_namespaces_is_admitted() {
    let developer = Identity::developer();
    let mut subjects: Vec<_> = (0..9000)
        .map(|number| account(&format!("payments-{}", number % 3000), &format!("robot-{number}")))
        .collect();
    let begun = std::time::Instant::now();
    let stored = create(&developer, CLUSTER, &view(&subjects)).admitted();
    println!("a binding of 9000 subjects in 3000 namespaces took {} ms", begun.elapsed().as_millis());
    let at = format!("{CLUSTER}/{}", stored["metadata"]["name"].as_str().unwrap());
    assert_eq!(get(at.clone()).body["subjects"].as_array().unwrap().len(), 9000);
    subjects.truncate(8999);
    for subject in [account(&slot_name(), "codex-runner"), named("Group", "system:authenticated")] {
        let mut more = subjects.clone();
        more.push(subject.clone());
        let name = subject["name"].as_str().unwrap();
        patch_at(&developer, at.clone(), MERGE, &json!({"subjects": more})).refused(
            403,
            "RBAC003",
            "subjects[8999]",
            name,
        );
    }
    let users: Vec<_> =
        (0..9000).map(|number| named("User", &format!("system:node:n{number}.example.dev"))).collect();
    patch_at(&developer, at.clone(), MERGE, &json!({"subjects": users})).admitted();
    let noted = json!({"metadata": {"annotations": {"seen": "yes"}}});
    patch_at(&developer, at.clone(), MERGE, &noted).admitted();
    assert_eq!(get(at).body["subjects"].as_array().unwrap().len(), 9000);
}

#[test]
fn nothing_that_an_agent_could_use_later_is_put_into_a_bare_slot() {
    let slot = slot_name();
    let (developer, platform) = (Identity::developer(), Identity::platform_control_plane());
    create_namespace(&platform, &namespace(&slot)).admitted();
    let own = [account(&slot, "codex-runner")];
    let admin = binding("RoleBinding", "admin", &named("ClusterRole", "admin"), &own);
    let wide = role("wide", &granting("", "secrets", "get"));
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "default"}}});
    let runner = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "codex-runner"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": {"containers": [
        {"name": "c", "image": "busybox:1.36", "securityContext": {"privileged": true}}]}});
    let copied = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "copied"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "serviceAccountName": "codex-k8s-control-plane", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    let deployments = format!("/apis/apps/v1/namespaces/{slot}/deployments");
    for (collection, object, rule, field, words) in [
        (path(&slot, "rolebindings"), &admin, "RBAC002", "roleRef", "ClusterRole \"admin\""),
        (path(&slot, "roles"), &wide, "RBAC001", "rules[0]", "secrets"),
        (path(&slot, "secrets"), &token, "SECRET001", "type", "service-account-token"),
        (path(&slot, "serviceaccounts"), &runner, "BASE001", "metadata.name", "codex-runner"),
        (path(&slot, "pods"), &pod, "JOB017", "spec.containers[0].securityContext.privileged", "true"),
        (deployments, &copied, "JOB004", "spec.template.spec.serviceAccountName", "codex-k8s-control-plane"),
    ] {
        create(&developer, &collection, object).refused(403, rule, field, words);
        let name = object["metadata"]["name"].as_str().unwrap();
        assert_eq!(get(format!("{collection}/{name}")).code, 404, "{name}");
    }
    // The platform creates its stack before it labels the slot, and its agent is admitted then.
    let star = role("platform", &granting("*", "*", "*"));
    create(&platform, &path(&slot, "roles"), &star).admitted();
    let copy = [account(&slot, "codex-k8s-control-plane")];
    let within = binding("RoleBinding", "platform", &named("Role", "platform"), &copy);
    create(&platform, &path(&slot, "rolebindings"), &within).admitted();
    create(&platform, CLUSTER, &view(&copy)).admitted();
    let mut build = pod;
    build["metadata"]["name"] = "build".into();
    build["spec"] = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "busybox:1.36"}]});
    create(&platform, &path(&slot, "pods"), &build).admitted();
    adopt(&slot);
    let found = get(format!("{}/platform", path(&slot, "rolebindings"))).body;
    assert_eq!(found["subjects"][0]["name"], "codex-k8s-control-plane");
}
