//! Objects that existed before the rules guarded a namespace: its gate stays closed until they are gone.

use std::time::Instant;

use codex_k8s_shared::lease::Lease;
use codex_k8s_tests::{ControlPlane, Guard, Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, TIMEOUT, annotation, at, job, jobs, namespace, playground};

const SLOT: &str = "codex-k8s-dev-1";
const CLEAN_SLOT: &str = "codex-k8s-dev-2";
const RUN: &str = "codex-issue-made-before";
const API: &str = "rbac.authorization.k8s.io";
const CLUSTER: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// The labels and the lease that make a namespace managed.
fn identity(run: &str) -> Value {
    let lease = Lease::grant(jiff::Timestamp::now(), "24h".parse().unwrap()).unwrap();
    json!({"metadata": {
        "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": run, "codex-k8s.dev/project-id": "p",
        },
        "annotations": {
            "codex-k8s.dev/correlation-id": run, "codex-k8s.dev/namespace-lease-ttl": lease.ttl.to_string(),
            "codex-k8s.dev/namespace-lease-expires-at": lease.expires_at.to_string(),
            "codex-k8s.dev/namespace-lease-updated-at": lease.updated_at.to_string(),
        },
    }})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn binding(kind: &str, home: Option<&str>, name: &str, role: (&str, &str), subject: &Value) -> Value {
    json!({"apiVersion": format!("{API}/v1"), "kind": kind, "metadata": {"name": name, "namespace": home},
        "roleRef": {"apiGroup": API, "kind": role.0, "name": role.1}, "subjects": [subject]})
}

fn pod(home: &str, name: &str, privileged: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": home}, "spec": {
        "nodeSelector": {"nowhere": "yes"},
        "containers": [{"name": "c", "image": "busybox:1.36", "securityContext": {"privileged": privileged}}]}})
}

/// Objects that an attacker leaves in a namespace or elsewhere for it: the kind and the rule, by path.
fn left(home: &str) -> Vec<(String, Value, &'static str)> {
    let rbac = format!("/apis/{API}/v1/namespaces/{home}");
    let star = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let role = json!({"apiVersion": format!("{API}/v1"), "kind": "Role",
        "metadata": {"name": "wide", "namespace": home}, "rules": star});
    let runner = account(home, "codex-runner");
    let waiting = format!("waits-for-{home}");
    let whole = binding("ClusterRoleBinding", None, &waiting, ("ClusterRole", "cluster-admin"), &runner);
    let elsewhere = binding("RoleBinding", Some("default"), &waiting, ("ClusterRole", "edit"), &runner);
    let admin = binding("RoleBinding", Some(home), "admin", ("ClusterRole", "admin"), &runner);
    vec![
        (format!("{CLUSTER}/{waiting}"), whole, "RBAC003"),
        (format!("/apis/{API}/v1/namespaces/default/rolebindings/{waiting}"), elsewhere, "RBAC003"),
        (format!("{rbac}/roles/wide"), role, "RBAC001"),
        (format!("{rbac}/rolebindings/admin"), admin, "RBAC002"),
        (format!("{}/pods/root-0", at(home)), pod(home, "root-0", true), "JOB017"),
    ]
}

/// A control plane without a registration, with a slot, a run namespace and the attacker's objects in them.
fn before() -> ControlPlane {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    let mut run = identity(RUN);
    run["apiVersion"] = "v1".into();
    run["kind"] = "Namespace".into();
    run["metadata"]["name"] = RUN.into();
    let mut objects = vec![run, namespace(SLOT), namespace(CLEAN_SLOT)];
    for home in [RUN, SLOT] {
        objects.extend(left(home).into_iter().map(|(_, object, _)| object));
        objects.extend((1..7).map(|number| pod(home, &format!("root-{number}"), true)));
        objects.push(pod(home, "plain", false));
    }
    // The platform's stack in a slot without labels.
    let copy = account(CLEAN_SLOT, "codex-k8s-control-plane");
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    objects.push(json!({"apiVersion": format!("{API}/v1"), "kind": "Role",
        "metadata": {"name": "stack", "namespace": CLEAN_SLOT}, "rules": rules}));
    objects.push(binding("RoleBinding", Some(CLEAN_SLOT), "stack", ("Role", "stack"), &copy));
    objects.push(binding("ClusterRoleBinding", None, "stack", ("ClusterRole", "cluster-admin"), &copy));
    let mut build = pod(CLEAN_SLOT, "build", false);
    build["spec"]["hostNetwork"] = true.into();
    objects.push(build);
    for object in objects {
        let created = kubectl.run_with_input(&["create", "-f", "-"], &object.to_string()).unwrap();
        assert!(created.succeeded(), "{object}: {created}");
    }
    control_plane
}

fn waits_for(admin: &Client<'_>, name: &str) -> String {
    annotation(&admin.get(&at(name)), "baseline-waits-for").to_owned()
}

/// Asserts that the gate is closed because of those objects: the annotation, an Event and refused workloads all say so.
fn is_closed_because_of_what_was_left(admin: &Client<'_>, name: &str) {
    let told = eventually(&format!("the gate of {name} says what has to go"), TIMEOUT, || {
        Some(waits_for(admin, name)).filter(|told| told.starts_with("the removal of "))
    })
    .unwrap();
    let expected = format!(
        "the removal of ClusterRoleBinding waits-for-{name} (RBAC003), RoleBinding default/waits-for-{name} (RBAC003), \
         Role wide (RBAC001), RoleBinding admin (RBAC002), Pod root-0 (JOB017) and 6 more"
    );
    assert_eq!(told, expected);
    assert!(!admin.is_open(name));
    let events = || admin.get(&format!("{}/events", at(name)))["items"].as_array().unwrap().clone();
    let is_reported = |event: &Value| {
        let message = event["message"].to_string();
        event["reason"] == "GateStaysClosed"
            && message.contains("Role wide (RBAC001)")
            && message.contains("#gate001 or run kubectl guard explain GATE001)")
    };
    eventually("an Event says it", TIMEOUT, || events().iter().any(is_reported).then_some(())).unwrap();
    let answer = admin.send(Method::POST, &jobs(name), &job("early"));
    assert_eq!(answer.code, 429, "{answer:?}");
    assert!(answer.message().contains("GATE001") && answer.message().contains("Role wide"), "{answer:?}");
}

#[test]
fn what_was_left_in_a_namespace_before_it_was_guarded_keeps_its_gate_closed_until_it_is_gone() {
    let guard = Guard::over(before(), playground()).unwrap();
    let admin = Client::new(&guard, &Identity::Admin);
    let worker = Client::new(&guard, &Identity::worker());
    for slot in [SLOT, CLEAN_SLOT] {
        worker.patch(&at(slot), &identity(slot));
    }
    admin.await_gate(CLEAN_SLOT);
    for name in [RUN, SLOT] {
        is_closed_because_of_what_was_left(&admin, name);
    }
    // They do not affect a new namespace.
    let begun = Instant::now();
    Client::new(&guard, &Identity::developer()).ready_namespace();
    println!("a gate beside two closed ones opened after {} ms", begun.elapsed().as_millis());
    for name in [RUN, SLOT] {
        for (path, _, _) in left(name) {
            assert!(admin.find(&path).is_some(), "{path} was deleted, and not by its owner");
        }
        let (rights, pods): (Vec<_>, Vec<_>) =
            left(name).into_iter().partition(|(_, object, _)| object["kind"] != "Pod");
        let root = (1..7).map(|number| format!("{}/pods/root-{number}", at(name)));
        for path in pods.into_iter().map(|(path, _, _)| path).chain(root) {
            admin.delete(&path);
        }
        let (last, others) = rights.split_first().unwrap();
        for (path, _, _) in others {
            admin.delete(path);
        }
        let only = format!("the removal of ClusterRoleBinding waits-for-{name} (RBAC003)");
        eventually("one is left", TIMEOUT, || (waits_for(&admin, name) == only).then_some(())).unwrap();
        assert!(!admin.is_open(name));
        admin.delete(&last.0);
        admin.await_gate(name);
        assert_eq!(waits_for(&admin, name), "");
        assert!(admin.find(&format!("{}/pods/plain", at(name))).is_some());
    }
}

#[test]
fn rights_of_all_users_from_before_the_registration_close_every_new_gate_and_open_ones_stay_open() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    let everybody = json!({"kind": "Group", "apiGroup": API, "name": "system:authenticated"});
    let bound = binding("ClusterRoleBinding", None, "all-may-read", ("ClusterRole", "view"), &everybody);
    let created = kubectl.run_with_input(&["create", "-f", "-"], &bound.to_string()).unwrap();
    assert!(created.succeeded(), "{created}");
    let guard = Guard::over_with_policy(control_plane, playground(), "").unwrap();
    let (admin, developer) =
        (Client::new(&guard, &Identity::Admin), Client::new(&guard, &Identity::developer()));
    let name = developer.namespace();
    let only = "the removal of ClusterRoleBinding all-may-read (RBAC003)";
    eventually("the gate says so", TIMEOUT, || (waits_for(&admin, &name) == only).then_some(())).unwrap();
    assert!(!admin.is_open(&name));
    // The operator lists the role for all users; the file is reloaded by itself.
    guard
        .write_policy("rbac: {everybody: [system:basic-user, system:discovery, system:public-info-viewer, system:service-account-issuer-discovery, system:cluster-trust-bundle-discovery, view]}\n")
        .unwrap();
    admin.await_gate(&name);
    let read = || std::fs::read_to_string(guard.file("reconcile.log")).unwrap().matches("policy=").count();
    let before = read();
    guard.write_policy("").unwrap();
    eventually("the reconciler has read the policy", TIMEOUT, || (read() > before).then_some(())).unwrap();
    let later = developer.namespace();
    eventually("the later gate says so", TIMEOUT, || (waits_for(&admin, &later) == only).then_some(()))
        .unwrap();
    assert!(admin.is_open(&name) && !admin.is_open(&later));
    assert!(admin.find(&format!("{CLUSTER}/all-may-read")).is_some());
}
