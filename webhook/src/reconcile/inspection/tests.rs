use codex_k8s_shared::policy::Profile;
use serde_json::json;

use super::*;

const RUN: &str = "codex-issue-1";
const SLOT: &str = "codex-k8s-dev-1";

fn namespace(name: &str, mode: RuntimeMode) -> ManagedNamespace {
    ManagedNamespace { mode, ready: false, ..ManagedNamespace::bare(name) }
}

fn existing(
    kind: Kind,
    kind_name: &'static str,
    name: &str,
    own_namespace: Option<&str>,
    fields: &Value,
) -> Existing {
    let mut object = fields.clone();
    object["metadata"]["name"] = name.into();
    if let Some(own_namespace) = own_namespace {
        object["metadata"]["namespace"] = own_namespace.into();
    }
    Existing { kind, kind_name, object }
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn cluster_binding(name: &str, role: &str, subjects: &[Value]) -> Existing {
    let fields = json!({"roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects});
    existing(Kind::ClusterRoleBinding, "ClusterRoleBinding", name, None, &fields)
}

fn binding(own_namespace: &str, name: &str, role: (&str, &str), subjects: &[Value]) -> Existing {
    let fields = json!({"roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects});
    existing(Kind::RoleBinding, "RoleBinding", name, Some(own_namespace), &fields)
}

fn role(own_namespace: &str, name: &str, resource: &str) -> Existing {
    let fields = json!({"rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    existing(Kind::Role, "Role", name, Some(own_namespace), &fields)
}

fn pod(own_namespace: &str, name: &str, spec: &Value) -> Existing {
    existing(Kind::Pod, "Pod", name, Some(own_namespace), &json!({"spec": spec}))
}

fn violations(own_namespace: &str, within: &[Existing], elsewhere: &[Existing]) -> Vec<String> {
    let mut bindings = BindingsElsewhere::default();
    for binding in elsewhere {
        bindings.add(binding);
    }
    let (policy, namespace) = (RunPolicy::of(Profile::B), namespace(own_namespace, RuntimeMode::FullEnv));
    let baseline = [(BaselineKind::Role, "codex-runner".to_owned())];
    let now = "2026-02-01T12:00:00Z".parse().unwrap();
    let inspected = Inspected { policy: &policy, namespace: &namespace, baseline: &baseline, now };
    inspected.violations(within, &bindings).iter().map(ToString::to_string).collect()
}

fn privileged() -> Value {
    json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]})
}

#[test]
fn bindings_elsewhere_that_include_the_namespaces_accounts_are_violations() {
    for own_namespace in [RUN, SLOT] {
        let elsewhere = [
            cluster_binding(
                "named",
                "cluster-admin",
                &[account("payments", "a"), account(own_namespace, "codex-runner")],
            ),
            cluster_binding("group", "view", &[group(&format!("system:serviceaccounts:{own_namespace}"))]),
            cluster_binding("all", "edit", &[group("system:authenticated")]),
            cluster_binding("listed", "system:discovery", &[group("system:authenticated")]),
            cluster_binding("other", "cluster-admin", &[account("codex-issue-2", "codex-runner")]),
            cluster_binding("people", "cluster-admin", &[group("system:masters")]),
            binding("payments", "away", ("ClusterRole", "edit"), &[account(own_namespace, "default")]),
            binding(
                own_namespace,
                "own",
                ("Role", "codex-runner"),
                &[account(own_namespace, "codex-runner")],
            ),
        ];
        let found = violations(own_namespace, &[], &elsewhere);
        let expected = [
            "ClusterRoleBinding named (RBAC003)",
            "ClusterRoleBinding group (RBAC003)",
            "RoleBinding payments/away (RBAC003)",
            "ClusterRoleBinding all (RBAC003)",
        ];
        assert_eq!(found, expected, "{own_namespace}");
    }
}

#[test]
fn candidate_accounts_of_a_slot_are_bound_by_the_platform_and_those_of_other_namespaces_are_not() {
    let bound = |own_namespace: &str| {
        [cluster_binding("platform", "cluster-admin", &[account(own_namespace, "codex-k8s-worker")])]
    };
    assert_eq!(violations(SLOT, &[], &bound(SLOT)), [""; 0]);
    assert_eq!(violations(RUN, &[], &bound(RUN)), ["ClusterRoleBinding platform (RBAC003)"]);
}

#[test]
fn rights_within_the_namespace_are_evaluated_as_anyones() {
    for own_namespace in [RUN, SLOT] {
        let within = [
            role(own_namespace, "codex-runner", "secrets"),
            role(own_namespace, "wide", "secrets"),
            binding(
                own_namespace,
                "admin",
                ("ClusterRole", "admin"),
                &[account(own_namespace, "codex-runner")],
            ),
            binding(own_namespace, "mine", ("Role", "wide"), &[account(own_namespace, "default")]),
            binding(own_namespace, "people", ("Role", "codex-runner"), &[group("sre")]),
            binding(own_namespace, "own", ("Role", "codex-runner"), &[account(own_namespace, "default")]),
        ];
        let expected = [
            "Role wide (RBAC001)",
            "RoleBinding admin (RBAC002)",
            "RoleBinding mine (RBAC002)",
            "RoleBinding people (RBAC002)",
        ];
        assert_eq!(
            violations(own_namespace, &within, &[]),
            expected,
            "{own_namespace}: the baseline's own is repaired"
        );
    }
}

#[test]
fn the_platforms_stack_in_a_slot_is_no_violation_and_shares_no_role_with_an_agent() {
    let stack = |own_namespace: &str| {
        vec![
            role(own_namespace, "stack", "secrets"),
            binding(
                own_namespace,
                "stack",
                ("Role", "stack"),
                &[account(own_namespace, "codex-k8s-worker"), account(own_namespace, "ingress")],
            ),
            pod(
                own_namespace,
                "build",
                &json!({"hostNetwork": true, "serviceAccountName": "codex-k8s-worker",
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 1}]}]}),
            ),
        ]
    };
    assert_eq!(violations(SLOT, &stack(SLOT), &[]), [""; 0]);
    let expected = ["Role stack (RBAC001)", "RoleBinding stack (RBAC002)", "Pod build (JOB004)"];
    assert_eq!(violations(RUN, &stack(RUN), &[]), expected);
    let mut shared = stack(SLOT);
    shared.push(binding(SLOT, "agents", ("Role", "stack"), &[account(SLOT, "codex-runner")]));
    let expected = ["Role stack (RBAC001)", "RoleBinding agents (RBAC002)"];
    assert_eq!(violations(SLOT, &shared, &[]), expected);
}

#[test]
fn workloads_that_reach_the_host_are_violations_and_what_is_merely_incomplete_is_not() {
    let host_path = json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "image": "i"}]});
    for own_namespace in [RUN, SLOT] {
        let mut template = pod(own_namespace, "web", &json!({"template": {"spec": privileged()}}));
        (template.kind, template.kind_name) = (Kind::Template, "Deployment");
        let within = [
            pod(own_namespace, "plain", &json!({"containers": [{"name": "c", "image": "i"}]})),
            pod(own_namespace, "root", &privileged()),
            pod(own_namespace, "files", &host_path),
            template,
        ];
        let expected = ["Pod root (JOB017)", "Pod files (JOB019)", "Deployment web (JOB017)"];
        assert_eq!(violations(own_namespace, &within, &[]), expected, "{own_namespace}");
    }
}

#[test]
fn a_reason_names_the_first_and_counts_the_others() {
    let pods: Vec<_> = (0..30).map(|number| pod(RUN, &format!("p{number}"), &privileged())).collect();
    let mut bindings = BindingsElsewhere::default();
    bindings.add(&cluster_binding("b", "edit", &[account(RUN, "default")]));
    let (policy, namespace) = (RunPolicy::default(), namespace(RUN, RuntimeMode::FullEnv));
    let now = "2026-02-01T12:00:00Z".parse().unwrap();
    let inspected = Inspected { policy: &policy, namespace: &namespace, baseline: &[], now };
    let text = reason(&inspected.violations(&pods, &bindings));
    assert_eq!(
        text,
        "the removal of ClusterRoleBinding b (RBAC003), Pod p0 (JOB017), Pod p1 (JOB017), Pod p2 (JOB017), \
         Pod p3 (JOB017) and 26 more"
    );
    let one = inspected.violations(&pods[..1], &BindingsElsewhere::default());
    assert_eq!(reason(&one), "the removal of Pod p0 (JOB017)");
}

#[test]
fn a_namespace_without_access_may_hold_the_platforms_copies_of_the_profiles() {
    let (policy, namespace) = (RunPolicy::default(), namespace(RUN, RuntimeMode::CodeOnly));
    let now = "2026-02-01T12:00:00Z".parse().unwrap();
    let inspected = Inspected { policy: &policy, namespace: &namespace, baseline: &[], now };
    let within = [
        role(RUN, "codex-runner", "pods"),
        role(RUN, "mine", "pods"),
        role(RUN, "codex-runner-readonly", "secrets"),
    ];
    let found = inspected.violations(&within, &BindingsElsewhere::default());
    let names: Vec<_> = found.iter().map(|violation| violation.name.as_str()).collect();
    assert_eq!(names, ["mine", "codex-runner-readonly"]);
}
