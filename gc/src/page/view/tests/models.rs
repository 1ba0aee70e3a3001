//! Models for the tests of the page.

use codex_k8s_shared::audit::{Actor, Event, EventType, Payload, Row};
use codex_k8s_shared::cleanup::{Candidate, Reason, Run, Verdict, Work, decide};
use codex_k8s_shared::keys;
use codex_k8s_shared::last_sweep::{LastSweep, SweepResult};
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use proptest::prelude::*;

use crate::page::model::{Known, Listed, Model, Namespaces};
use crate::page::quota::Usage;

pub(super) fn now() -> Timestamp {
    at("2026-02-01T12:00:00Z")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn candidate(name: &str, requester: &str, hold: &str) -> Candidate {
    let mut annotations = pairs(&[
        (keys::REQUESTED_BY, requester),
        (keys::NAMESPACE_LEASE_TTL, "1h0m0s"),
        (keys::NAMESPACE_LEASE_UPDATED_AT, "2026-02-01T10:00:00Z"),
        (keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-02-01T11:00:00Z"),
        (keys::BASELINE_READY_AT, "2026-02-01T10:00:05Z"),
    ]);
    if !hold.is_empty() {
        annotations.insert(keys::HOLD.to_owned(), hold.to_owned());
    }
    Candidate {
        name: name.to_owned(),
        uid: name.to_owned(),
        labels: pairs(&[
            (keys::MANAGED_BY, keys::MANAGED_BY_VALUE),
            (keys::NAMESPACE_PURPOSE, keys::NAMESPACE_PURPOSE_VALUE),
            (keys::RUNTIME_MODE, "full-env"),
            (keys::RUN_ID, "run-1"),
            (keys::PROJECT_ID, "p1"),
        ]),
        annotations,
        created_at: Some(at("2026-02-01T09:59:00Z")),
        work: Work::Idle,
        ..Candidate::default()
    }
}

fn decided(candidate: Candidate) -> Listed {
    Listed { verdict: Some(decide(&RunPolicy::default(), now(), &candidate)), candidate }
}

/// An expired namespace with a requester and a hold, and the decision of a sweep.
pub(super) fn of(name: &str, requester: &str, hold: &str) -> Listed {
    decided(candidate(name, requester, hold))
}

/// A model with one of everything.
pub(super) fn model() -> Model {
    let going = Candidate {
        terminating_since: Some(at("2026-02-01T11:30:00Z")),
        ..candidate("codex-issue-3", "jane", "")
    };
    let mut strange = candidate("codex-issue-4", "jane", "");
    strange.annotations.insert(keys::NAMESPACE_LEASE_TTL.to_owned(), "soon".to_owned());
    let listed = vec![
        of("codex-issue-1", "jane", ""),
        of("codex-issue-2", "jane", "2026-02-01T18:00:00Z looking into it"),
        decided(going),
        decided(strange),
    ];
    let last = LastSweep {
        started_at: Some(at("2026-02-01T11:45:00Z")),
        finished_at: Some(at("2026-02-01T11:45:07Z")),
        last_success: Some(at("2026-02-01T11:45:07Z")),
        result: SweepResult::Succeeded,
        managed: 4,
        retained: [("held".to_owned(), 1)].into(),
        ..LastSweep::default()
    };
    Model {
        read_at: now(),
        namespaces: Ok(Namespaces { listed, undecided: None, trips: Ok(Vec::new()) }),
        quota_usage: Ok(vec![Usage { scope: "project p1".to_owned(), held: 3, limit: Some(4) }]),
        rows: Ok(vec![row(
            EventType::Cleaned,
            Payload { namespace: "codex-issue-0".to_owned(), ..Payload::default() },
        )]),
        sweep: Ok(Some(last)),
        next: Some(at("2026-02-01T12:15:00Z")),
    }
}

fn row(event_type: EventType, payload: Payload) -> Row {
    let actor = Actor::system("codex-k8s-gc");
    Row {
        id: 1,
        event: Event { correlation_id: "c".to_owned(), actor, event_type, payload, created_at: now() },
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[<>&\"'/a-z ]{0,20}", Just(String::new())]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (-300_000_000_000i64..200_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn known<T: std::fmt::Debug + Clone + 'static>(
    found: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Known<T>> {
    prop_oneof![4 => found.prop_map(Ok), 1 => text().prop_map(Err)]
}

fn any_listed() -> impl Strategy<Value = Listed> {
    let annotation = prop_oneof![text(), Just("2026-02-01T13:00:00Z".to_owned()), Just("1h0m0s".to_owned())];
    let keys = keys::KNOWN.iter().map(|known| known.key.to_owned()).collect::<Vec<_>>();
    let map = prop::collection::btree_map(prop::sample::select(keys), annotation, 0..8);
    let verdict = prop_oneof![
        Just(None),
        text().prop_map(|why| Some(Verdict::Wait { until: now(), reason: Reason::Held { why } })),
        time().prop_map(|since| Some(Verdict::Retain(Reason::Terminating { since }))),
        prop::collection::vec(text(), 0..3)
            .prop_map(|work| Some(Verdict::Retain(Reason::ActiveWorkloads { work }))),
        Just(Some(Verdict::Delete(Reason::RunFinished))),
    ];
    (text(), map.clone(), map, prop::option::of(time()), verdict).prop_map(
        |(name, labels, annotations, created_at, verdict)| Listed {
            candidate: Candidate {
                name,
                labels,
                annotations,
                created_at,
                run: Run::NotRequested,
                ..Candidate::default()
            },
            verdict,
        },
    )
}

fn any_sweep() -> impl Strategy<Value = LastSweep> {
    (prop::option::of(time()), prop::option::of(text()), text(), prop::sample::select(&SweepResult::ALL[..]))
        .prop_map(|(finished_at, error, reason, result)| LastSweep {
            started_at: finished_at,
            finished_at,
            error,
            result,
            retained: [(reason.clone(), 3)].into(),
            breaker: vec![reason],
            oldest_expired: finished_at,
            ..LastSweep::default()
        })
}

/// Any content of a cluster.
pub(super) fn any_model() -> impl Strategy<Value = Model> {
    let listed = prop::collection::vec(any_listed(), 0..8);
    let namespaces = (listed, prop::option::of(text()), known(prop::collection::vec(text(), 0..2)))
        .prop_map(|(listed, undecided, trips)| Namespaces { listed, undecided, trips });
    let usage = (text(), any::<u32>(), prop::option::of(any::<u32>()))
        .prop_map(|(scope, held, limit)| Usage { scope, held, limit });
    let rows = (prop::sample::select(&EventType::ALL[..]), text(), text()).prop_map(
        |(event_type, namespace, error)| {
            row(event_type, Payload { namespace, error: Some(error), ..Payload::default() })
        },
    );
    let known_parts = (
        known(namespaces),
        known(prop::collection::vec(usage, 0..4)),
        known(prop::collection::vec(rows, 0..4)),
        known(prop::option::of(any_sweep())),
    );
    (known_parts, prop::option::of(time())).prop_map(|((namespaces, quota_usage, rows, sweep), next)| Model {
        read_at: now(),
        namespaces,
        quota_usage,
        rows,
        sweep,
        next,
    })
}
