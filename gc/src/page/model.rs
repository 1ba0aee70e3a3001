//! What the page shows. Plain facts, and which state they make.

use codex_k8s_shared::audit::Row;
use codex_k8s_shared::cleanup::{Candidate, Reason, Verdict};
use codex_k8s_shared::last_sweep::LastSweep;
use jiff::Timestamp;

use super::quota::Usage;

/// What is known, or why it is not.
pub type Known<T> = Result<T, String>;

/// All that the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// When it was read.
    pub read_at: Timestamp,
    /// The managed namespaces.
    pub namespaces: Known<Namespaces>,
    /// The places that are held, of those that there are.
    pub quota_usage: Known<Vec<Usage>>,
    /// The latest audit rows, the newest first.
    pub rows: Known<Vec<Row>>,
    /// The last sweep; `None` if there was none yet.
    pub sweep: Known<Option<LastSweep>>,
    /// When the next one begins; `None` for never.
    pub next: Option<Timestamp>,
}

/// The managed namespaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespaces {
    /// They, in no order.
    pub listed: Vec<Listed>,
    /// Why nothing is decided about any of them, if so.
    pub undecided: Option<String>,
    /// What the breaker would refuse a sweep for at this moment.
    pub trips: Known<Vec<String>>,
}

/// A namespace, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The namespace.
    pub candidate: Candidate,
    /// What is to become of it, as a sweep would decide; `None` if that cannot be told.
    pub verdict: Option<Verdict>,
}

/// Where a namespace stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The next sweep deletes it.
    Due,
    /// It stays for a cause that no time will fix.
    NeedsAttention,
    /// Something keeps it that may end: work in it, its run, the policy.
    Blocked,
    /// It is being deleted.
    Terminating,
    /// A person holds it.
    Held,
    /// Its lease has ended, and it is kept for a while.
    Retained,
    /// Its lease lives.
    Live,
    /// Nobody can say.
    Undecided,
}

impl State {
    /// All of them, what needs a look first.
    pub const ALL: [Self; 8] = [
        Self::Due,
        Self::NeedsAttention,
        Self::Blocked,
        Self::Terminating,
        Self::Held,
        Self::Retained,
        Self::Live,
        Self::Undecided,
    ];

    /// What it is called in an address.
    pub const fn code(self) -> &'static str {
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

    /// What it is called on the page.
    pub const fn label(self) -> &'static str {
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
    /// Where it stands.
    pub const fn state(&self) -> State {
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

    /// When its lease ends, or it is looked at again, whichever is later.
    pub fn ends(&self) -> Option<Timestamp> {
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
