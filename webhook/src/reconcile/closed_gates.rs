//! The closed gates, and the times at which they were closed, for the metrics.

use std::collections::HashMap;

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::baseline::meta::MetaExt;
use crate::baseline::meta::managed;

/// The reason why a gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The baseline is not complete.
    Baseline,
    /// The baseline is complete, but a reservation is missing.
    Quota,
}

impl WaitsFor {
    /// All reasons.
    pub(crate) const ALL: [Self; 2] = [Self::Baseline, Self::Quota];

    /// Returns the value of the metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Quota => "quota",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Closed {
    uid: String,
    since: Timestamp,
    waits_for: WaitsFor,
}

/// The closed gates as a watch reports them, by the names of their namespaces.
#[derive(Debug, Default)]
pub struct ClosedGates {
    closed: HashMap<String, Closed>,
    /// The closed gates from before the list that is being read.
    before: HashMap<String, Closed>,
}

impl ClosedGates {
    /// Starts a list. Namespaces that are not in it are gone.
    pub(crate) fn begin(&mut self) {
        self.before.extend(self.closed.drain());
    }

    /// Completes the list.
    pub(crate) fn end(&mut self) {
        self.before.clear();
    }

    /// Records a namespace that was created or has changed.
    pub fn on_apply(&mut self, policy: &RunPolicy, meta: &ObjectMeta, now: Timestamp) {
        let name = meta.name.as_deref().unwrap_or_default();
        let known = self.closed.remove(name).or_else(|| self.before.remove(name));
        if meta.is_in_scope(policy) && !managed(meta).ready {
            self.closed.insert(name.to_owned(), closed(meta, known, now));
        }
    }

    /// Records that a namespace is gone.
    pub(crate) fn on_delete(&mut self, name: &str) {
        self.closed.remove(name);
    }

    /// Returns the number of gates that are closed for a reason, and the time since when the oldest of them is.
    pub(crate) fn waiting_for(&self, what: WaitsFor) -> (usize, Option<Timestamp>) {
        let those = self.closed.values().filter(|closed| closed.waits_for == what);
        those.fold((0, None), |(count, first), closed| {
            (count + 1, Some(first.map_or(closed.since, |first: Timestamp| first.min(closed.since))))
        })
    }

    /// Returns the label, the number of closed gates, and the start of the longest wait, for each of
    /// [`WaitsFor::ALL`].
    pub fn summary(&self) -> [(&'static str, usize, Option<Timestamp>); 2] {
        WaitsFor::ALL.map(|what| {
            let (count, since) = self.waiting_for(what);
            (what.as_str(), count, since)
        })
    }
}

/// Returns a closed gate with the time since when it is closed. A pending namespace has an annotation with the time,
/// and a namespace whose gate was never open waits since its creation. For all others, it is the time when the closed
/// gate was first seen.
fn closed(meta: &ObjectMeta, known: Option<Closed>, now: Timestamp) -> Closed {
    let uid = meta.uid.clone().unwrap_or_default();
    let pending = meta.annotation(keys::QUOTA_PENDING_SINCE);
    let created = meta.creation_timestamp.as_ref().map(|created| created.0);
    let never_open = meta.annotation(keys::BASELINE_HASH).is_none();
    let waits_for = if pending.is_some() { WaitsFor::Quota } else { WaitsFor::Baseline };
    let known = known.filter(|known| known.uid == uid && known.waits_for == waits_for);
    let since = pending
        .and_then(|since| since.parse().ok())
        .or(created.filter(|_| never_open && pending.is_none()))
        .or(known.map(|known| known.since))
        .unwrap_or(now);
    Closed { uid, since, waits_for }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A run namespace that was created at a second, with annotations.
    fn created(second: i64, annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ObjectMeta {
            name: Some("codex-issue-1".to_owned()),
            uid: Some(second.to_string()),
            creation_timestamp: Some(Time(at(second))),
            labels: Some([(keys::MANAGED_BY.to_owned(), keys::MANAGED_BY_VALUE.to_owned())].into()),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        }
    }

    fn on_apply(gates: &mut ClosedGates, meta: &ObjectMeta, now: i64) {
        gates.on_apply(&RunPolicy::default(), meta, at(now));
    }

    const HASH: (&str, &str) = (keys::BASELINE_HASH, "h");
    const READY: (&str, &str) = (keys::BASELINE_READY_AT, "2026-02-01T12:00:00Z");

    #[test]
    fn a_gate_that_was_never_open_waits_from_creation_and_one_that_closed_from_when_it_was_seen() {
        let mut gates = ClosedGates::default();
        on_apply(&mut gates, &created(10, &[]), 50);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (1, Some(at(10))));
        on_apply(&mut gates, &created(10, &[HASH, READY]), 60);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (0, None));
        on_apply(&mut gates, &created(10, &[HASH]), 70);
        on_apply(&mut gates, &created(10, &[HASH]), 80);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (1, Some(at(70))), "it was known already");
        on_apply(&mut gates, &created(75, &[HASH]), 90);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (1, Some(at(90))), "another one of the same name");
        gates.on_delete("codex-issue-1");
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (0, None));
    }

    #[test]
    fn a_namespace_without_a_reservation_reports_since_when() {
        let mut gates = ClosedGates::default();
        let pending = (keys::QUOTA_PENDING_SINCE, "1970-01-01T00:00:30Z");
        on_apply(&mut gates, &created(10, &[HASH, pending]), 50);
        assert_eq!(gates.waiting_for(WaitsFor::Quota), (1, Some(at(30))));
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (0, None));
        on_apply(&mut gates, &created(10, &[HASH]), 60);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (1, Some(at(60))), "it waits for something else");
    }

    #[test]
    fn a_new_list_forgets_who_is_not_in_it_and_remembers_since_when_the_others_wait() {
        let mut gates = ClosedGates::default();
        let other = ObjectMeta { name: Some("codex-issue-2".to_owned()), ..created(20, &[HASH]) };
        on_apply(&mut gates, &created(10, &[HASH]), 50);
        on_apply(&mut gates, &other, 55);
        gates.begin();
        on_apply(&mut gates, &other, 60);
        gates.end();
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (1, Some(at(55))));
    }

    #[test]
    fn who_is_on_its_way_out_or_protected_waits_for_nothing() {
        let mut gates = ClosedGates::default();
        let ending = ObjectMeta { deletion_timestamp: Some(Time(at(40))), ..created(10, &[]) };
        on_apply(&mut gates, &ending, 50);
        on_apply(&mut gates, &ObjectMeta { name: Some("kube-system".to_owned()), ..created(10, &[]) }, 50);
        assert_eq!(gates.waiting_for(WaitsFor::Baseline), (0, None));
    }
}
