//! An upgrade from the previous release to this one, and a rollback.

use std::path::{Path, PathBuf};

use codex_k8s_tests::chart;
use serde_json::json;

use crate::harness::{Binding, INSTALL_NAMESPACE, Installed, machine_can};
use crate::load::{Asked, during};

/// The variable with a folder that holds the chart of an earlier commit, and perhaps its image.
const BEFORE: &str = "CODEX_K8S_GUARD_BEFORE";
/// With a CronJob, from which a sweep can be started by hand.
const VALUES: &str = "serve: {replicas: 3}\ngc: {mode: cronjob}\n";
/// The number of requests that must succeed meanwhile.
const REQUESTS: u64 = 20_000;

/// Runs a sweep in the `CronJob`'s own Pod, which reads the rows of earlier ones; it must succeed.
fn sweep(cluster: &Installed, name: &str) {
    cluster.done(&["create", "job", "-n", INSTALL_NAMESPACE, "--from=cronjob/codex-k8s-gc", name]);
    let job = format!("job/{name}");
    cluster.done(&["wait", "-n", INSTALL_NAMESPACE, "--for=condition=Complete", &job, "--timeout=90s"]);
    cluster.done(&["delete", "-n", INSTALL_NAMESPACE, &job]);
}

/// Asserts that a new run namespace gets its baseline.
fn is_looked_after(cluster: &Installed, namespace: &str) {
    cluster.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    cluster.eventually("the limit range is there", || {
        cluster.get(&["limitrange", "codex-run-limits", "-n", namespace])
    });
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn an_upgrade_from_the_release_before_and_the_way_back_lose_no_request_and_forget_nothing() {
    if !machine_can() {
        return;
    }
    let before = std::env::var_os(BEFORE).map(PathBuf::from);
    let before = before.unwrap_or_else(|| panic!("{BEFORE} names no folder: `make test-node`"));
    let cluster = Installed::prepared();
    cluster.provide_volume(Binding::Immediate);
    let image = before.join("image.tar");
    let tag = if image.exists() { "before" } else { "1" };
    if image.exists() {
        cluster.import_from(&image, tag);
    }
    let charts: [&Path; 2] = [&before.join("deploy/chart"), &chart::folder()];
    cluster.release("install", charts[0], tag, VALUES);
    let namespace = "codex-issue-stays";
    is_looked_after(&cluster, namespace);
    sweep(&cluster, "before");
    let created = cluster.get(&["namespace", namespace]).unwrap();

    let upgraded =
        during(&cluster, Asked::Guarded, REQUESTS, || cluster.release("upgrade", charts[1], "1", VALUES));
    upgraded.without_a_failure(&format!("an upgrade from the chart before, with image {tag:?}"));
    is_looked_after(&cluster, "codex-issue-after");
    sweep(&cluster, "after");

    let back = during(&cluster, Asked::Guarded, REQUESTS, || {
        cluster.helm(&["rollback", "guard", "1", "--wait", "--timeout", "3m"], "");
    });
    back.without_a_failure("the way back");
    is_looked_after(&cluster, "codex-issue-back");
    sweep(&cluster, "back");
    let stays = cluster.get(&["namespace", namespace]).unwrap();
    for place in ["/metadata/labels", "/metadata/annotations/codex-k8s.dev~1namespace-lease-expires-at"] {
        assert_eq!(stays.pointer(place), created.pointer(place), "{place}");
    }
    assert!(cluster.rows_of(namespace).contains("prepared"), "{}", cluster.rows_of(namespace));
}
