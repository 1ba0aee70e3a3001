//! Commands by hand on a real node: their Jobs share node and volume with the daemon.

use std::process::{Command, Output};

use codex_k8s_tests::{Identity, chart};
use serde_json::{Value, json};

use crate::harness::{Binding, INSTALL_NAMESPACE, Installed, machine_can, playground};

/// A daemon that never sweeps by itself, and a breaker that trips at the second namespace.
const VALUES: &str = "\
policy: {cleanup: {breaker: {maxDeletions: 1}}}
gc: {schedule: \"0 0 29 2 *\"}
operatorRole: {enabled: true, subjects: [{kind: Group, name: operators}]}
";

/// A run namespace whose lease ended before it was created, as in a restored backup.
fn restored(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/project-id": "p1",
            "codex-k8s.dev/run-id": name},
        "annotations": {
            "codex-k8s.dev/requested-by": "jane", "codex-k8s.dev/correlation-id": name,
            "codex-k8s.dev/namespace-lease-ttl": "1h0m0s",
            "codex-k8s.dev/namespace-lease-expires-at": "2026-01-01T01:00:00Z",
            "codex-k8s.dev/namespace-lease-updated-at": "2026-01-01T00:00:00Z"}}})
}

impl Installed {
    /// Runs our program outside of the cluster with the rights of the Role for operators.
    fn by_hand(&self, args: &[&str]) -> Output {
        let operator = Identity::user("olga").in_group("operators");
        Command::new(playground())
            .arg("guard")
            .args(args)
            .env("KUBECONFIG", self.node.control_plane().kubeconfig(&operator).unwrap())
            .output()
            .unwrap()
    }

    /// The output of a command by hand that ends with a code.
    #[track_caller]
    fn told(&self, args: &[&str], code: i32) -> String {
        let ran = self.by_hand(args);
        let error = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {error}\n{}", self.happened());
        String::from_utf8(ran.stdout).unwrap()
    }
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn commands_by_hand_run_where_the_daemon_runs_with_its_policy_its_rows_and_its_rights() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::prepared();
    cluster.provide_volume(Binding::WaitForFirstConsumer);
    let names = ["codex-issue-restored-1", "codex-issue-restored-2"];
    for name in names {
        cluster.create(&restored(name));
    }
    cluster.release("install", &chart::folder(), "1", VALUES);
    let told = cluster.told(&["sweep", "--yes"], 3);
    assert!(told.contains("one sweep deletes 1 at most"), "{told}");
    assert!(names.iter().all(|name| cluster.get(&["namespace", name]).is_some()), "they are there");
    let told = cluster.told(&["sweep", "--allow-mass-deletion=2", "--yes"], 0);
    assert!(told.contains("2 due, 2 deleted"), "{told}");
    let rows: Value =
        serde_json::from_str(&cluster.told(&["audit", "list", names[0], "-o", "json"], 0)).unwrap();
    assert!(rows.to_string().contains("run.namespace.cleaned"), "{rows}");
    let told = cluster.told(&["explain", &format!("ns/{}", names[1])], 0);
    assert!(told.contains("does not exist: it was deleted at "), "{told}");
    assert!(cluster.rows_of(names[0]).contains("cleaned"), "on the daemon's volume");
    assert_eq!(cluster.told(&["explain", "ns/default", "--now=yesterday"], 2), "");

    // Without the daemon, the rows are those of the CronJob.
    cluster.release(
        "upgrade",
        &chart::folder(),
        "1",
        &format!("{VALUES}\n").replace("gc: {", "gc: {mode: cronjob, "),
    );
    let exported = cluster.told(&["audit", "export"], 0);
    assert!(exported.lines().count() >= 4 && exported.contains(names[0]), "{exported}");
    let jobs = ["jobs", "-n", INSTALL_NAMESPACE, "-l", "app.kubernetes.io/managed-by=kubectl-guard"];
    cluster.eventually("no Job by hand is left", || {
        cluster.get(&jobs)?["items"].as_array()?.is_empty().then_some(())
    });
}
