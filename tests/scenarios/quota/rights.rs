//! The reconciler with least rights: it needs no more than the documentation says, and none about Jobs unless they are
//! limited.

use codex_k8s_tests::Identity;
use codex_k8s_tests::kubectl::Kubectl;
use serde_json::{Value, json};

use crate::agents::{annotation, job, works};
use crate::harness::{Cluster, person};

const LEAST: &str = "least";

fn policy(limit: &str) -> String {
    let quotas = format!("quotas: {{agentJobsPerProject: {limit}}}\n");
    format!(
        "identities: {{reconcilers: {{users: [{LEAST}, system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile]}}}}\n{quotas}"
    )
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// Every right except for those that a limit on Jobs needs.
fn rights() -> Vec<Value> {
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    let rbac = "rbac.authorization.k8s.io";
    vec![
        rule("", &["namespaces"], &["get", "list", "watch", "patch"]),
        rule("", &["serviceaccounts", "resourcequotas", "limitranges"], &all),
        rule("", &["resourcequotas"], &["update"]),
        rule(rbac, &["roles", "rolebindings"], &all),
        rule(rbac, &["roles"], &["escalate", "bind"]),
        rule(rbac, &["clusterrolebindings"], &["list"]),
        rule("", &["pods", "replicationcontrollers"], &["list"]),
        rule(
            "apps",
            &["deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"],
            &["list"],
        ),
        rule("batch", &["jobs", "cronjobs"], &["list"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ]
}

#[track_caller]
fn grant(kubectl: &Kubectl, name: &str, namespace: Option<&str>, rules: &[Value]) {
    let prefix = if namespace.is_some() { "" } else { "Cluster" };
    let group = "rbac.authorization.k8s.io";
    let meta = json!({"name": name, "namespace": namespace});
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": format!("{prefix}Role"), "metadata": meta, "rules": rules});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": format!("{prefix}RoleBinding"), "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": format!("{prefix}Role"), "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": LEAST}]});
    for object in [role, binding] {
        let applied = kubectl.run_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap();
        assert!(applied.succeeded(), "{applied}");
    }
}

#[test]
fn without_a_limit_nothing_is_requested_about_jobs_and_with_one_no_more_than_the_documented_rights_allow() {
    let cluster = Cluster::with_policy(&policy("null"));
    let admin = cluster.guard.kubectl(&Identity::Admin).unwrap();
    cluster.guard.reconciler.process.signal("TERM").unwrap();
    let ended = || (!cluster.guard.reconciler.process.is_running()).then_some(());
    cluster.eventually("the one with every right has ended", ended);
    grant(&admin, "least", None, &rights());
    let own = rule("coordination.k8s.io", &["leases"], &["get", "list", "create", "patch", "delete"]);
    let mut last_sweep = rule("", &["configmaps"], &["get"]);
    last_sweep["resourceNames"] = json!(["codex-k8s-gc-last-sweep"]);
    grant(&admin, "least", Some("codex-k8s-guard"), &[own, last_sweep]);
    let least = cluster.guard.one_more_reconciler_as(&Identity::user(LEAST), "least", &[]).unwrap();

    let namespace = cluster.ready("codex-run-rights", "p");
    let first = cluster.create_job(&Identity::agent(&namespace), &namespace, &job("first")).unwrap();
    assert!(works(&first) && first.spec.as_ref().unwrap().suspend != Some(true));
    assert_eq!(annotation(&first, "job-pending-reason"), "");
    // It runs, and has counted all reservations more than once.
    let again = cluster.ready("codex-run-again", "p");
    all_is_well(&cluster, least.health);

    let jobs = rule("batch", &["jobs"], &["get", "watch", "patch"]);
    grant(&admin, "least-jobs", None, &[jobs]);
    cluster.guard.write_policy(&policy("{max: 2}")).unwrap();
    let holds_one =
        |name: &str| cluster.job_reservations().contains(&format!("{namespace}/{name}")).then_some(());
    cluster.eventually("the first one is counted", || holds_one("first"));
    cluster.await_limit(&again);
    for name in ["second", "third"] {
        let created = cluster.create_job(&person("jane"), &again, &job(name)).unwrap();
        assert!(
            annotation(&created, "job-pending-reason").starts_with("a quota reservation among"),
            "{created:?}"
        );
        cluster.await_count("p", 2, works);
    }
    cluster.eventually("the third one is told", || {
        annotation(&cluster.read_job(&again, "third"), "job-pending-reason")
            .contains("whose limit is 2")
            .then_some(())
    });
    cluster.finish(&format!("{namespace}/first"));
    cluster.eventually("the third one comes in", || works(&cluster.read_job(&again, "third")).then_some(()));
    cluster.eventually("its Event is there", || {
        cluster.job_events(&format!("{again}/third")).contains(&"QuotaReserved".to_owned()).then_some(())
    });
    all_is_well(&cluster, least.health);
}

/// Asserts that no request of the reconciler was refused.
#[track_caller]
fn all_is_well(cluster: &Cluster, health: codex_k8s_tests::Health) {
    let log = std::fs::read_to_string(cluster.guard.file("least.log")).unwrap();
    assert!(!log.contains("orbidden") && !log.contains("failed to"), "{log}");
    assert_eq!(health.metric("codex_k8s_reconcile_reconcile_errors_total").unwrap(), 0);
}
