//! The data of the page: plain facts, and the states that follow from them.

use codex_k8s_shared::audit::Row;
use codex_k8s_shared::cleanup::{Candidate, Reason, Verdict};
use codex_k8s_shared::last_sweep::LastSweep;
use jiff::Timestamp;

use super::quota::Usage;

/// A value, or the reason for which it is unknown.
pub(crate) type Known<T> = Result<T, String>;

/// The data of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The time when it was read.
    pub read_at: Timestamp,
    /// The managed namespaces.
    pub namespaces: Known<Namespaces>,
    /// The reservations that are held, by scope, with the limits.
    pub quota_usage: Known<Vec<Usage>>,
    /// The latest audit rows, the newest first.
    pub rows: Known<Vec<Row>>,
    /// The last sweep; `None` if there was none yet.
    pub sweep: Known<Option<LastSweep>>,
    /// The time of the next sweep; `None` for never.
    pub next: Option<Timestamp>,
}

/// The managed namespaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespaces {
    /// The namespaces, in no order.
    pub listed: Vec<Listed>,
    /// The reason for which there is no decision about any of them, if so.
    pub undecided: Option<String>,
    /// The limits at which the circuit breaker would trip now.
    pub trips: Known<Vec<String>>,
}

/// A namespace, and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The namespace.
    pub candidate: Candidate,
    /// The decision that a sweep would make; `None` if it is unknown.
    pub verdict: Option<Verdict>,
}

/// The state of a namespace, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum State {
    /// The next sweep deletes it.
    Due,
    /// It is retained for a reason that does not go away with time.
    NeedsAttention,
    /// It is retained for a reason that may go away: work in it, its run, the policy.
    Blocked,
    /// It is terminating.
    Terminating,
    /// A person has set a hold.
    Held,
    /// Its lease has ended, and it is retained for some time.
    Retained,
    /// Its lease has not ended.
    Live,
    /// The decision is unknown.
    Undecided,
}

impl State {
    /// All states, those that need attention first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Due,
        Self::NeedsAttention,
        Self::Blocked,
        Self::Terminating,
        Self::Held,
        Self::Retained,
        Self::Live,
        Self::Undecided,
    ];

    /// The name in an address.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::NeedsAttention => "needs-attention",
            Self::Blocked => "blocked",
            Self::Terminating => "terminating",
            Self::Held => "held",
            Self::Retained => "retained",
            Self::Live => "live",
            Self::Undecided => "undecided",
        }
    }

    /// The name on the page.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Due => "Due",
            Self::NeedsAttention => "Needs attention",
            Self::Blocked => "Blocked",
            Self::Terminating => "Terminating",
            Self::Held => "Held",
            Self::Retained => "Retained",
            Self::Live => "Live",
            Self::Undecided => "Undecided",
        }
    }
}

impl Listed {
    /// The state.
    pub(crate) const fn state(&self) -> State {
        match &self.verdict {
            None => State::Undecided,
            Some(Verdict::Delete(_)) => State::Due,
            Some(Verdict::Wait { reason: Reason::Held { .. }, .. }) => State::Held,
            Some(Verdict::Wait { reason: Reason::LiveLease { .. }, .. }) => State::Live,
            Some(Verdict::Wait { .. }) => State::Retained,
            Some(Verdict::Retain(Reason::Terminating { .. })) => State::Terminating,
            Some(Verdict::Retain(reason)) if reason.is_lasting() => State::NeedsAttention,
            Some(Verdict::Retain(_)) => State::Blocked,
        }
    }

    /// The end of its lease, or the time of its next evaluation, whichever is later.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        let lease = self.candidate.lease().map(|lease| lease.expires_at.timestamp());
        match self.verdict {
            Some(Verdict::Wait { until, .. }) => Some(lease.map_or(until, |lease| lease.max(until))),
            _ => lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verdict_is_a_state_and_each_has_a_code_of_its_own() {
        let at = Timestamp::UNIX_EPOCH;
        let wait = |reason| Verdict::Wait { until: at, reason };
        for (verdict, state) in [
            (None, State::Undecided),
            (Some(Verdict::Delete(Reason::TtlExpired)), State::Due),
            (Some(wait(Reason::Held { why: "w".to_owned() })), State::Held),
            (Some(wait(Reason::LiveLease { until: at })), State::Live),
            (Some(wait(Reason::Grace)), State::Retained),
            (Some(Verdict::Retain(Reason::Terminating { since: at })), State::Terminating),
            (Some(Verdict::Retain(Reason::MissingLease)), State::NeedsAttention),
            (Some(Verdict::Retain(Reason::CleanupDisabled)), State::Blocked),
        ] {
            let listed = Listed { candidate: Candidate::default(), verdict };
            assert_eq!(listed.state(), state, "{listed:?}");
        }
        let codes: BTreeSet<_> = State::ALL.iter().map(|state| state.code()).collect();
        assert_eq!(codes.len(), State::ALL.len());
    }
}
