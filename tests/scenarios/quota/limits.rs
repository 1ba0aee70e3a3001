//! Limits: the scopes that count a request, the messages for a pending namespace, and its lease.

use std::sync::OnceLock;

use codex_k8s_shared::lease::{GoDuration, LeaseInstant};
use codex_k8s_tests::Identity;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use crate::harness::{Cluster, annotation, is_ready, is_refused, person, unique};

/// A break-glass user passes the quota check at creation, and then waits at the gate.
const POLICY: &str = "\
identities: {breakGlass: {users: [rescuer]}}
quotas: {cluster: null, perProject: {max: 2, overrides: {narrow: 1, cycles: 1000, open: 1000}}, perRequester: {max: 21}}
";

pub(crate) fn cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::with_policy(POLICY))
}

fn fresh() -> String {
    format!("codex-issue-{}", unique())
}

fn lease(namespace: &Namespace) -> (String, LeaseInstant, LeaseInstant) {
    let instant = |key| annotation(namespace, key).parse().unwrap();
    let ttl = annotation(namespace, "namespace-lease-ttl").to_owned();
    (ttl, instant("namespace-lease-expires-at"), instant("namespace-lease-updated-at"))
}

#[test]
fn a_project_has_no_more_namespaces_than_its_limit_from_any_user() {
    let (cluster, joe) = (cluster(), person("joe"));
    let (first, second) = (fresh(), fresh());
    cluster.create(&joe, &first, "two").unwrap();
    cluster.create(&Identity::worker(), &second, "two").unwrap();
    cluster.await_ready(&first);
    cluster.await_ready(&second);
    let told = [
        "metadata.labels[\"codex-k8s.dev/project-id\"]: Invalid value: \"two\"",
        "2 run namespaces in this project, whose limit is 2",
        &first,
        &second,
        "the next lease ends at 20",
    ];
    for identity in [&joe, &Identity::worker(), &Identity::Admin] {
        is_refused(&cluster.create(identity, &fresh(), "two"), &told);
        is_refused(&cluster.create_with(identity, &fresh(), "two", true), &told);
    }
    cluster.create(&joe, &fresh(), "another").unwrap();
    // A namespace that is already counted is not counted against itself.
    cluster.annotate(&Identity::worker(), &first, &[("correlation-id", "c1")]).unwrap();
    cluster.delete(std::slice::from_ref(&first));
    is_refused(&cluster.create(&joe, &fresh(), "two"), &[&first]);
    let third = fresh();
    cluster.eventually("the reservation is free", || cluster.create(&joe, &third, "two").ok());
    cluster.await_ready(&third);
}

#[test]
fn a_user_has_no_more_namespaces_than_the_limit() {
    let (cluster, mary) = (cluster(), person("mary"));
    let names: Vec<_> = (0..21).map(|_| fresh()).collect();
    for name in &names {
        cluster.create(&mary, name, "open").unwrap();
    }
    let told = [
        "metadata.annotations[\"codex-k8s.dev/requested-by\"]: Invalid value: \"mary\"",
        "21 run namespaces in this requester, whose limit is 21",
        "and 18 more",
    ];
    cluster.eventually("the cache has them all", || {
        cluster.create_with(&mary, "codex-issue-m", "open", true).err()
    });
    is_refused(&cluster.create(&mary, &fresh(), "open"), &told);
    let other = fresh();
    cluster.create(&person("marian"), &other, "open").unwrap();
    cluster.await_ready(&other);
    cluster.await_ready(names.last().unwrap());
    cluster.delete(&names);
}

#[test]
fn the_lease_of_a_namespace_without_a_reservation_is_cut_once_and_restored_with_the_reservation() {
    let (cluster, jane) = (cluster(), person("jill"));
    let (first, second) = (fresh(), fresh());
    cluster.create(&jane, &first, "narrow").unwrap();
    cluster.await_ready(&first);
    cluster.create(&person("rescuer"), &second, "narrow").unwrap();
    let told = cluster.eventually("it is told that there is no reservation", || {
        cluster.read(&second).filter(|found| !annotation(found, "quota-pending-since").is_empty())
    });
    let waits = annotation(&told, "baseline-waits-for");
    assert!(
        waits.starts_with(
            "a quota reservation in project narrow, whose limit is 1; the next lease ends at 20"
        ),
        "{waits}"
    );
    assert!(!is_ready(&told));
    let (ttl, expires_at, updated_at) = lease(&told);
    assert_eq!(ttl, "15m0s");
    assert_eq!(expires_at.since(updated_at), Some("15m".parse::<GoDuration>().unwrap()));
    cluster.eventually("an Event tells it", || {
        cluster.events(&second).contains(&"QuotaExceeded".to_owned()).then_some(())
    });
    only_the_reconciler_cuts(cluster, &first);
    // The platform extends it: no later reconciliation shortens it again.
    let extended = updated_at.checked_add("24h".parse().unwrap()).unwrap().to_string();
    let parts = [("namespace-lease-ttl", "24h0m0s"), ("namespace-lease-expires-at", &*extended)];
    cluster.annotate(&Identity::worker(), &second, &parts).unwrap();
    cluster.delete(&[first]);
    let reserved = cluster.await_ready(&second);
    for key in ["quota-pending-since", "baseline-waits-for"] {
        assert_eq!(annotation(&reserved, key), "", "{key}");
    }
    let (ttl, expires_at, _) = lease(&reserved);
    assert!(ttl == "24h0m0s" && expires_at.to_string() >= extended, "{ttl} {expires_at}");
    cluster.eventually("an Event tells it", || {
        cluster.events(&second).contains(&"QuotaReserved".to_owned()).then_some(())
    });
}

/// Asserts that the lease of a working namespace cannot be shortened, even by forging the annotation of a pending one.
fn only_the_reconciler_cuts(cluster: &Cluster, name: &str) {
    let now = jiff::Timestamp::now();
    let cut = codex_k8s_shared::lease::Lease::grant(now, "15m".parse().unwrap()).unwrap();
    let (expires_at, updated_at) = (cut.expires_at.to_string(), cut.updated_at.to_string());
    let mut parts = vec![
        ("namespace-lease-ttl", "15m0s"),
        ("namespace-lease-expires-at", &*expires_at),
        ("namespace-lease-updated-at", &*updated_at),
    ];
    let refusal = |parts: &[(&str, &str)], identity: &Identity| match cluster.annotate(identity, name, parts)
    {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message.clone(),
        other => panic!("{other:?}"),
    };
    let short = refusal(&parts, &Identity::reconciler());
    assert!(
        short.contains("LEASE004: metadata.annotations[\"codex-k8s.dev/namespace-lease-expires-at\"]"),
        "{short}"
    );
    parts.push(("quota-pending-since", &*updated_at));
    let open = refusal(&parts, &Identity::reconciler());
    assert!(open.contains("LEASE004: "), "one that works keeps its lease: {open}");
    let forged = refusal(&parts, &person("jill"));
    let told = "NS011: metadata.annotations[\"codex-k8s.dev/quota-pending-since\"]";
    assert!(forged.contains(told) && forged.contains("only the reconciler changes it"), "{forged}");
}

#[test]
fn no_workload_is_admitted_without_a_reservation() {
    let cluster = cluster();
    let (first, second) = (fresh(), fresh());
    let jack = person("jack");
    let both = [&first, &second].map(|name| cluster.create(&person("rescuer"), name, "narrow-too"));
    assert!(both.iter().all(Result::is_ok));
    cluster.await_ready(&first);
    cluster.await_ready(&second);
    let third = fresh();
    cluster.create(&person("rescuer"), &third, "narrow-too").unwrap();
    cluster.eventually("it waits", || {
        cluster
            .read(&third)
            .filter(|found| annotation(found, "baseline-waits-for").starts_with("a quota reservation"))
    });
    let api = Api::namespaced(cluster.impatient(&jack), &third);
    let job: k8s_openapi::api::batch::v1::Job = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}},
    }))
    .unwrap();
    match cluster.runtime.block_on(api.create(&kube::api::PostParams::default(), &job)) {
        Err(kube::Error::Api(status)) => {
            let told = "a quota reservation in project narrow-too, whose limit is 2";
            assert!(status.code == 429 && status.message.contains("GATE001: "), "{status:?}");
            assert!(status.message.contains(told), "{}", status.message);
        }
        other => panic!("{other:?}"),
    }
}
