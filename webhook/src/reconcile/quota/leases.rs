//! Conversion between reservations and Leases.

use std::collections::BTreeMap;

use codex_k8s_shared::install::PART_OF;
use codex_k8s_shared::quota::{JOB_RESERVATION, JOB_UID, NAMESPACE_UID, RESERVATION};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::reservations::{Candidate, Holder, Id, Reservation, Stored};
use crate::baseline::meta::MetaExt;

/// The annotation of a confirmed reservation, which is not given back.
pub(in crate::reconcile) const CONFIRMED: &str = "guard.codex-k8s.dev/confirmed";

/// The labels of the reservations of one kind of holder.
struct Labels {
    /// The kind of the scope.
    kind: &'static str,
    /// The uid of the holder.
    uid: &'static str,
}

const fn labels(job: bool) -> Labels {
    if job {
        Labels { kind: JOB_RESERVATION, uid: JOB_UID }
    } else {
        Labels { kind: RESERVATION, uid: NAMESPACE_UID }
    }
}

/// Parses a resource version as a number, which grows with every change.
pub(in crate::reconcile) fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// Returns the Lease to create for a reservation.
pub(in crate::reconcile) fn lease(id: &Id, who: &Candidate) -> Lease {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let Labels { kind, uid } = labels(who.holder.is_job());
    let labels = [PART_OF.entry(), label(kind, id.kind()), label(uid, &who.uid)];
    let annotations = who.open.then(|| BTreeMap::from([label(CONFIRMED, "true")]));
    let metadata = ObjectMeta {
        name: Some(id.to_string()),
        labels: Some(BTreeMap::from(labels)),
        annotations,
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec {
        holder_identity: Some(who.holder.to_string()),
        acquire_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

/// Parses a Lease as a reservation, if its name is that of a reservation.
pub(in crate::reconcile) fn reservation(lease: &Lease) -> Option<Reservation> {
    let meta = &lease.metadata;
    let id = Id::parse(meta.name.as_deref()?)?;
    let named = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    let holder = Holder::parse(named.unwrap_or_default());
    let uid = meta.label(labels(holder.is_job()).uid).map(str::to_owned);
    let stored = Stored {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.as_deref().map_or(0, number),
    };
    let confirmed = meta.annotation(CONFIRMED).is_some();
    Some(Reservation { id, holder, uid: uid.unwrap_or_default(), stored: Some(stored), confirmed })
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::quota::Scope;

    use super::*;

    #[test]
    fn a_reservation_is_read_as_it_was_written_whoever_has_it() {
        for (text, kind) in [("codex-run-1", "reservation"), ("codex-run-1/unit-tests", "job-reservation")] {
            let scope = Scope::of_jobs(Some("p1"));
            let who = Candidate {
                holder: Holder::parse(text),
                uid: "u".to_owned(),
                created: Timestamp::UNIX_EPOCH,
                open: true,
                scopes: vec![(scope.clone(), Some(1))],
            };
            let id = Id { stem: scope.stem(), number: 3 };
            let mut stored = lease(&id, &who);
            stored.metadata.uid = Some("l".to_owned());
            stored.metadata.resource_version = Some("7".to_owned());
            let version = Stored { uid: "l".to_owned(), version: 7 };
            let expected =
                Reservation { id, holder: who.holder, uid: who.uid, stored: Some(version), confirmed: true };
            assert_eq!(reservation(&stored), Some(expected));
            // A reconciler that selects one kind does not find the other.
            let labels = stored.metadata.labels.unwrap();
            assert_eq!(labels[&format!("guard.codex-k8s.dev/{kind}")], "agent-jobs");
            assert_eq!(labels.len(), 3, "{labels:?}");
        }
        assert_eq!(reservation(&Lease::default()), None);
    }
}
