//! Reservation Leases that others have written into the install namespace, or deleted there: they neither admit a
//! namespace nor keep one out for long.

use std::collections::BTreeMap;
use std::time::Duration;

use codex_k8s_shared::install::PART_OF;
use codex_k8s_shared::quota::Scope;
use codex_k8s_tests::{Identity, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::agents::{job, works};
use crate::harness::{Cluster, is_refused, person};

const POLICY: &str = "\
quotas: {cluster: {max: 3}, perProject: null, perRequester: null, agentJobsPerProject: {max: 1}}
";
/// Enough time, because reservations are compared with the namespaces every minute.
const COMPARED: Duration = Duration::from_mins(3);

fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client(&Identity::Admin), "codex-k8s-guard")
}

/// Writes a Lease with the name of a reservation; with a uid, it has our labels.
fn forge(cluster: &Cluster, name: &str, kind: &str, holder: Option<&str>, uid: Option<&str>) {
    let (part_of, ours) = PART_OF.entry();
    let labels = uid.map(|uid| {
        let key = if kind == "agent-jobs" { "job" } else { "namespace" };
        let reservation = if kind == "agent-jobs" { "job-reservation" } else { "reservation" };
        BTreeMap::from([
            (part_of, ours),
            (format!("guard.codex-k8s.dev/{reservation}"), kind.to_owned()),
            (format!("guard.codex-k8s.dev/{key}-uid"), uid.to_owned()),
        ])
    });
    let object = json!({
        "metadata": {"name": name, "labels": labels, "annotations": {"guard.codex-k8s.dev/confirmed": "true"}},
        "spec": {"holderIdentity": holder},
    });
    let lease = serde_json::from_value(object).unwrap();
    cluster.runtime.block_on(leases(cluster).create(&PostParams::default(), &lease)).unwrap();
}

#[track_caller]
fn await_holders(cluster: &Cluster, expected: &[&str]) {
    eventually("each namespace has its reservation, and nobody else has one", COMPARED, || {
        cluster.holders("cluster").iter().eq(expected).then_some(())
    })
    .unwrap();
}

#[test]
fn forged_and_deleted_reservations_neither_keep_anyone_out_nor_let_anyone_in() {
    let cluster = Cluster::with_policy(POLICY);
    // Each takes a number that a namespace needs; that of 7 is above the limit, and does not admit one by itself.
    forge(&cluster, "reservation-cluster-0", "cluster", None, None);
    forge(&cluster, "reservation-cluster-1", "cluster", Some(""), Some(""));
    forge(&cluster, "reservation-cluster-2", "cluster", Some("gone"), Some("0000"));
    forge(&cluster, "reservation-cluster-7", "cluster", Some("no such?name"), Some("0001"));
    let jobs = Scope::of_jobs(Some("p")).stem();
    forge(
        &cluster,
        &format!("reservation-{jobs}-0"),
        "agent-jobs",
        Some("codex-run-a/../../x"),
        Some("0002"),
    );
    forge(&cluster, &format!("reservation-{jobs}-4"), "agent-jobs", Some("gone/job"), Some("0003"));
    // A new reconciler must count them before it admits a namespace.
    cluster.guard.reconciler.process.signal("TERM").unwrap();
    let second = cluster.guard.one_more_reconciler("second", &[]).unwrap();

    let names = ["codex-run-a", "codex-run-b", "codex-run-c"];
    for name in names {
        cluster.create(&person("jane"), name, "p").unwrap();
    }
    for name in names {
        cluster.await_ready(name);
    }
    await_holders(&cluster, &names);
    cluster
        .eventually("the cache has them all", || cluster.create(&person("jane"), "codex-run-d", "p").err());
    is_refused(&cluster.create(&person("jane"), "codex-run-d", "p"), &["whose limit is 3"]);
    cluster.await_limit("codex-run-a");
    for name in ["first", "second"] {
        cluster.create_job(&Identity::agent("codex-run-a"), "codex-run-a", &job(name)).unwrap();
    }
    let working = cluster.await_count("p", 1, works);
    cluster.each_holds_one_reservation(&working);

    // One more for an active namespace, and none for another.
    let uid = cluster.read("codex-run-a").unwrap().metadata.uid.unwrap();
    forge(&cluster, "reservation-cluster-9", "cluster", Some("codex-run-a"), Some(&uid));
    let of_b = cluster.reservations().into_iter().find(|lease| {
        lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.as_deref() == Some("codex-run-b"))
    });
    let of_b = of_b.unwrap().metadata.name.unwrap();
    cluster.runtime.block_on(leases(&cluster).delete(&of_b, &DeleteParams::default())).unwrap();
    await_holders(&cluster, &names);
    is_refused(&cluster.create(&person("jane"), "codex-run-d", "p"), &["whose limit is 3"]);
    assert_eq!(cluster.all().len(), 3);
    drop(second);
}
