//! The decisions of a whole sweep: the order of deletions, the namespaces that are retained, and the plausibility of
//! the whole. Pure.

use codex_k8s_shared::cleanup::{Candidate, Reason, Run, Verdict, Work, decide, is_due_by_lease, is_overdue};
use codex_k8s_shared::policy::RunPolicy;
use jiff::{SignedDuration, Timestamp};

use crate::breaker::{self, Trip};

/// A namespace and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The namespace.
    pub candidate: Candidate,
    /// The decision.
    pub verdict: Verdict,
    /// True if it is due by its own lease alone.
    pub is_due_by_lease: bool,
    /// True if it is retained beyond lease, retention, hold and `cleanup.workGrace`.
    pub is_overdue: bool,
}

impl Planned {
    /// Decides about a namespace.
    pub fn new(policy: &RunPolicy, now: Timestamp, candidate: Candidate) -> Self {
        let verdict = decide(policy, now, &candidate);
        let is_overdue = is_overdue(policy, now, &candidate, &verdict);
        Self { verdict, is_due_by_lease: is_due_by_lease(policy, now, &candidate), is_overdue, candidate }
    }

    /// Returns true if only work would retain it. Only in these namespaces, the work needs to be inspected.
    pub(crate) fn is_to_be_inspected(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> bool {
        let idle = Candidate { work: Work::Idle, ..candidate.clone() };
        matches!(decide(policy, now, &idle), Verdict::Delete(_))
    }

    /// Returns true if it is due.
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.verdict, Verdict::Delete(_))
    }

    /// Returns true if its lease has ended, as far as that can be read.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.candidate.lease().is_some_and(|lease| lease.expires_at.timestamp() <= now)
    }

    /// Returns true if an audit row reports that it is retained: it should be gone but is blocked, or the time of its
    /// deletion is unknown.
    pub(crate) fn is_reported(&self, now: Timestamp) -> bool {
        match &self.verdict {
            Verdict::Retain(Reason::NotManaged | Reason::Protected | Reason::Terminating { .. })
            | Verdict::Delete(_) => false,
            Verdict::Retain(_) => true,
            Verdict::Wait { reason, .. } => matches!(reason, Reason::Held { .. }) && self.is_expired(now),
        }
    }
}

/// The facts about a sweep other than its namespaces.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Surroundings {
    /// The local clock minus the API server's.
    pub ahead: Option<SignedDuration>,
    /// The number of namespaces that were due in the last sweep.
    pub due_before: Option<u32>,
    /// The number of deletions that an operator allows in this sweep.
    pub allowed: Option<u32>,
    /// True if a database is configured.
    pub runs_requested: bool,
}

/// Sorts a plan: namespaces that are due, the oldest first; then the others, by name.
pub(crate) fn order(planned: &mut [Planned]) {
    let end = |planned: &Planned| planned.candidate.lease().map(|lease| lease.expires_at.timestamp());
    planned.sort_by(|one, other| {
        let key = |planned: &Planned| (!planned.is_due(), planned.is_due().then(|| end(planned)));
        key(one).cmp(&key(other)).then_with(|| one.candidate.name.cmp(&other.candidate.name))
    });
}

/// The limits of the circuit breaker that a plan exceeds.
pub(crate) fn trips(policy: &RunPolicy, planned: &[Planned], around: &Surroundings) -> Vec<Trip> {
    let count = |counts: &dyn Fn(&Planned) -> bool| {
        u32::try_from(planned.iter().filter(|planned| counts(planned)).count()).unwrap_or(u32::MAX)
    };
    let sweep = breaker::Sweep {
        managed: count(&|_| true),
        due: count(&Planned::is_due),
        due_by_policy: count(&|planned| planned.is_due() && !planned.is_due_by_lease),
        due_before: around.due_before,
        ahead: around.ahead,
        runs_requested: if around.runs_requested { count(&|_| true) } else { 0 },
        runs_unknown: count(&|planned| planned.candidate.run == Run::Unknown),
    };
    breaker::trips(&policy.cleanup.breaker, &sweep, around.allowed)
}

/// The deletions of an ordered plan, the oldest first: only namespaces that are due by their own lease if the circuit
/// breaker has tripped.
pub(crate) fn deletions<'a>(planned: &'a [Planned], trips: &[Trip]) -> Vec<&'a Candidate> {
    // If the clock or the database is wrong, no decision is reliable.
    let verdicts_hold = trips.iter().all(Trip::can_be_allowed);
    let passes = |planned: &&Planned| {
        verdicts_hold && planned.is_due() && (trips.is_empty() || planned.is_due_by_lease)
    };
    planned.iter().filter(passes).map(|planned| &planned.candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(name: &str, verdict: Verdict, expires_at: &str) -> Planned {
        let annotations = [
            ("codex-k8s.dev/namespace-lease-ttl", "1h0m0s"),
            ("codex-k8s.dev/namespace-lease-updated-at", "2026-02-01T00:00:00Z"),
            ("codex-k8s.dev/namespace-lease-expires-at", expires_at),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Planned {
            candidate: Candidate { name: name.to_owned(), annotations, ..Candidate::default() },
            verdict,
            is_due_by_lease: false,
            is_overdue: false,
        }
    }

    #[test]
    fn what_is_due_by_its_own_lease_goes_whatever_else_the_breaker_refuses() {
        let due = |name: &str, by_lease| Planned {
            is_due_by_lease: by_lease,
            ..planned(name, Verdict::Delete(Reason::TtlExpired), "2026-01-03T00:00:00Z")
        };
        let retained = planned("k", Verdict::Retain(Reason::Protected), "2026-01-01T00:00:00Z");
        let all = [due("a", false), due("b", true), due("c", true), retained];
        let count = Trip::Count { due: 3, most: 2 };
        for (trips, expected) in [
            (&[][..], &["a", "b", "c"][..]),
            (&[count], &["b", "c"]),
            (&[count, Trip::NoClock], &[]),
            (&[Trip::Database { requested: 9 }], &[]),
        ] {
            let deleted: Vec<_> = deletions(&all, trips).iter().map(|it| &*it.name).collect();
            assert_eq!(deleted, expected, "{trips:?}");
        }
    }

    #[test]
    fn the_oldest_goes_first_and_what_stays_comes_after() {
        let mut all = [
            planned("z", Verdict::Retain(Reason::Protected), "2026-01-01T00:00:00Z"),
            planned("b", Verdict::Delete(Reason::TtlExpired), "2026-01-03T00:00:00Z"),
            planned("a", Verdict::Delete(Reason::TtlExpired), "2026-01-03T00:00:00Z"),
            planned("c", Verdict::Delete(Reason::TtlExpired), "2026-01-02T00:00:00Z"),
            planned("y", Verdict::Retain(Reason::Protected), "2026-01-09T00:00:00Z"),
        ];
        order(&mut all);
        assert_eq!(all.map(|planned| planned.candidate.name), ["c", "a", "b", "y", "z"]);
    }

    #[test]
    fn a_row_reports_of_what_is_in_the_way_and_not_of_what_simply_lives() {
        let now = "2026-02-01T12:00:00Z".parse().unwrap();
        let held = || Verdict::Wait { until: now, reason: Reason::Held { why: "w".to_owned() } };
        let live = Verdict::Wait { until: now, reason: Reason::LiveLease { until: now } };
        let (past, future) = ("2026-02-01T11:00:00Z", "2026-02-01T13:00:00Z");
        for (verdict, expires_at, reported) in [
            (held(), past, true),
            (held(), future, false),
            (live, future, false),
            (Verdict::Retain(Reason::UnknownRun), past, true),
            (Verdict::Retain(Reason::MissingLease), "never", true),
            (Verdict::Retain(Reason::Terminating { since: now }), past, false),
            (Verdict::Delete(Reason::TtlExpired), past, false),
        ] {
            let planned = planned("n", verdict, expires_at);
            assert_eq!(planned.is_reported(now), reported, "{planned:?}");
        }
    }

    #[test]
    fn a_database_that_knows_no_run_trips_only_if_it_was_requested() {
        let mut all: Vec<_> = (0..8)
            .map(|number| planned(&number.to_string(), Verdict::Delete(Reason::TtlExpired), ""))
            .collect();
        for planned in &mut all {
            planned.candidate.run = Run::Unknown;
        }
        let around = Surroundings { ahead: Some(SignedDuration::ZERO), ..Surroundings::default() };
        assert!(trips(&RunPolicy::default(), &all, &around).is_empty());
        let around = Surroundings { runs_requested: true, ..around };
        assert_eq!(trips(&RunPolicy::default(), &all, &around), [Trip::Database { requested: 8 }]);
    }
}
