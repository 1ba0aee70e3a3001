//! docs/metrics.md documents every metric, and no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use codex_k8s_certs::Authority;
use codex_k8s_certs::plan::{AuthorityData, State, Stored};
use codex_k8s_gc::health::Health;
use codex_k8s_shared::baseline::BaselineKind;
use codex_k8s_shared::last_sweep::LastSweep;
use codex_k8s_shared::policy::{Quotas, RunPolicy};
use codex_k8s_shared::quota::Scope;
use codex_k8s_webhook::metrics::{Decision, Metrics};
use codex_k8s_webhook::reconcile::closed_gates::ClosedGates;
use codex_k8s_webhook::reconcile::fault::Written;
use codex_k8s_webhook::reconcile::metrics::Metrics as Reconciling;
use codex_k8s_webhook::review::{Entry, Operation};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::tables::{Families, documented, exposed};

/// The metrics of `serve`, after each event once. A family without a sample is not exported.
fn serving() -> String {
    let metrics = Metrics::default();
    metrics.decided(&Decision::new(Entry::Validate, Operation::Create, None, false));
    metrics.took(Entry::Validate, Duration::from_millis(1));
    metrics.refused("timeout");
    metrics.reload_failed("policy");
    metrics.registered("ValidatingWebhookConfiguration", 12);
    metrics.policy_in_force("0123");
    metrics.render()
}

/// The metrics of `reconcile`.
fn reconciling() -> String {
    let metrics = Reconciling::default();
    metrics.wrote(BaselineKind::Role, "remove");
    metrics.gate("open");
    let mut gates = ClosedGates::default();
    let labels = Some([("codex-k8s.dev/managed-by".to_owned(), "codex-k8s-worker".to_owned())].into());
    let closed = ObjectMeta { name: Some("codex-issue-1".to_owned()), labels, ..ObjectMeta::default() };
    gates.on_apply(&RunPolicy::default(), &closed, Timestamp::now());
    metrics.closed_gates(gates.summary());
    metrics.reservations(Scope::KINDS.into_iter(), 1, 1);
    metrics.limits(&Quotas::default());
    metrics.refused("cluster");
    metrics.released("cluster");
    metrics.reload_failed("policy");
    metrics.certificate_written(Written::Leaf);
    metrics.registration_repaired("validating");
    metrics.registration_contested("validating", true);
    let now = Timestamp::now();
    let certificate = Authority::generate(now, "a").unwrap().pem().certificate.clone().into_bytes();
    metrics.certificates_end(&State {
        cluster_time: now,
        authority: Stored::Ours(AuthorityData { certificate, ..AuthorityData::default() }),
        leaf: Stored::Missing,
        configurations: Vec::new(),
        replicas: Vec::new(),
    });
    metrics.render()
}

/// The metrics of the daemon, after a sweep.
fn sweeping() -> String {
    let health = Arc::<Health>::default();
    let now = Some(Timestamp::now());
    health.last.note(LastSweep {
        started_at: now,
        finished_at: now,
        last_success: now,
        retained: [("held".to_owned(), 1)].into(),
        overdue: [("held".to_owned(), 1)].into(),
        oldest_expired: now,
        oldest_terminating: now,
        last_prune: now,
        pruned_rows: 1,
        ..LastSweep::default()
    });
    health.render()
}

fn all() -> Families {
    [serving(), reconciling(), sweeping()].iter().flat_map(|text| exposed(text)).collect()
}

#[test]
fn the_tables_report_of_every_metric_and_of_none_that_there_is_not() {
    let (exposed, documented) = (all(), documented());
    let differing: Vec<_> = exposed
        .iter()
        .filter(|(name, shape)| documented.get(*name) != Some(shape))
        .map(|(name, shape)| format!("exposed: {name} {shape:?}; documented: {:?}", documented.get(name)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let gone: Vec<_> = documented.keys().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(gone.is_empty(), "documented, but not exposed: {gone:?}");
}

/// The sources that register the metrics of a program.
const SOURCES: [(&str, &str); 4] = [
    ("codex_k8s_guard_", include_str!("../../../shared/src/build_info.rs")),
    ("codex_k8s_webhook_", include_str!("../../../webhook/src/metrics.rs")),
    ("codex_k8s_reconcile_", include_str!("../../../webhook/src/reconcile/metrics.rs")),
    ("codex_k8s_gc_", include_str!("../../../gc/src/health.rs")),
];

#[test]
fn nothing_is_registered_that_these_tests_do_not_expose() {
    let exposed: BTreeSet<_> = all().keys().map(|name| name.trim_end_matches("_total").to_owned()).collect();
    let mut count = 0;
    for (prefix, source) in SOURCES {
        for call in source.split("registry.register(").skip(1) {
            let name = call.trim_start().strip_prefix('"').unwrap().split_once('"').unwrap().0;
            assert!(exposed.contains(&format!("{prefix}{name}")), "{prefix}{name}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}
