//! The report of a sweep.

use std::collections::{BTreeMap, HashMap};

use codex_k8s_shared::cleanup::Verdict;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use serde::Serialize;

use super::DryRun;
use crate::breaker::Trip;
use crate::plan::Planned;

/// A sweep, as it is printed and stored.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The start.
    pub started_at: Timestamp,
    /// The end.
    pub finished_at: Timestamp,
    /// `none`, `client` or `server`.
    pub dry_run: &'static str,
    /// The hash of the policy.
    pub policy_hash: String,
    /// True if everything was evaluated; false if the sweep ended early.
    pub complete: bool,
    /// The limits at which the circuit breaker tripped. In that case only namespaces that were due by their own lease
    /// were deleted, or none at all.
    pub breaker: Vec<Tripped>,
    /// The namespaces: those that are due first, the oldest first.
    pub namespaces: Vec<Line>,
    /// Leftovers of deleted namespaces.
    pub leaks: Vec<Leak>,
    /// The number of old audit rows that were removed, if it was time to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned_rows: Option<u64>,
    #[serde(skip)]
    trips: Vec<Trip>,
    /// The index of the line of a uid.
    #[serde(skip)]
    index: HashMap<String, usize>,
}

/// A limit at which the circuit breaker tripped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tripped {
    /// The code.
    pub code: &'static str,
    /// The message.
    pub message: String,
    /// True if an operator may allow the sweep once.
    pub can_be_allowed: bool,
}

/// A leftover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// The object, and the problem.
    pub what: String,
    /// The command that fixes it.
    pub command: String,
}

/// A namespace in a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The name.
    pub namespace: String,
    /// The uid.
    pub uid: String,
    /// The run, from the namespace's label.
    pub run_id: String,
    /// `retain`, `wait` or `delete`.
    pub verdict: &'static str,
    /// The reason, as a code.
    pub reason: &'static str,
    /// The reason, as a message.
    pub message: String,
    /// The time of the next evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The end of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// The time of the deletion request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_since: Option<Timestamp>,
    /// The outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// True if an operator must act.
    #[serde(skip)]
    pub is_lasting: bool,
    /// True if it is due for reasons other than its own lease.
    #[serde(skip)]
    pub is_due_by_policy: bool,
    /// True if it is retained beyond lease, retention, hold and `cleanup.workGrace`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_overdue: bool,
}

/// The outcome for a namespace that was due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Outcome {
    /// It is gone.
    Deleted,
    /// It was already deleted by another client.
    AlreadyDeleted,
    /// It would be deleted.
    WouldDelete,
    /// It is left to the next sweep, because this one has reached its maximum.
    Postponed,
    /// It is retained, because it was changed after it was listed.
    Retained {
        /// The reason, as a code.
        reason: &'static str,
        /// The reason, as a message.
        message: String,
    },
    /// It could not be deleted.
    Failed {
        /// The error.
        error: String,
    },
    /// It is still terminating at the timeout.
    Terminating {
        /// The blockers.
        blockers: Vec<String>,
    },
}

impl Outcome {
    /// The outcome of a namespace that is retained.
    pub(crate) fn retained(verdict: &Verdict) -> Self {
        Self::Retained { reason: verdict.reason().code(), message: verdict.reason().to_string() }
    }
}

impl Line {
    /// The line of a decision.
    pub fn new(planned: &Planned) -> Self {
        let (candidate, reason) = (&planned.candidate, planned.verdict.reason());
        Self {
            namespace: candidate.name.clone(),
            uid: candidate.uid.clone(),
            run_id: candidate.label(keys::RUN_ID).unwrap_or_default().to_owned(),
            verdict: planned.verdict.as_str(),
            reason: reason.code(),
            message: reason.to_string(),
            until: match planned.verdict {
                Verdict::Wait { until, .. } => Some(until),
                _ => None,
            },
            lease_expires_at: candidate.lease().map(|lease| lease.expires_at.timestamp()),
            terminating_since: candidate.terminating_since,
            outcome: None,
            is_lasting: planned.is_overdue
                || (matches!(planned.verdict, Verdict::Retain(_)) && reason.is_lasting()),
            is_due_by_policy: planned.is_due() && !planned.is_due_by_lease,
            is_overdue: planned.is_overdue,
        }
    }

    /// The line of a namespace that was not listed any more, or has been created again.
    fn of_earlier(namespace: &str, uid: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
            run_id: String::new(),
            verdict: "delete",
            reason: "begun_earlier",
            message: "an earlier sweep has begun to delete it".to_owned(),
            until: None,
            lease_expires_at: None,
            terminating_since: None,
            outcome: None,
            is_lasting: false,
            is_due_by_policy: false,
            is_overdue: false,
        }
    }
}

impl Report {
    pub(crate) fn new(now: Timestamp, policy: &RunPolicy, dry_run: DryRun) -> Self {
        let dry_run = match dry_run {
            DryRun::No => "none",
            DryRun::Client => "client",
            DryRun::Server => "server",
        };
        Self {
            started_at: now,
            finished_at: now,
            dry_run,
            policy_hash: policy.hash().clone(),
            complete: false,
            breaker: Vec::new(),
            namespaces: Vec::new(),
            leaks: Vec::new(),
            pruned_rows: None,
            trips: Vec::new(),
            index: HashMap::new(),
        }
    }

    pub(super) fn decided(&mut self, lines: Vec<Line>, trips: Vec<Trip>) {
        let tripped = |trip: &Trip| Tripped {
            code: trip.code(),
            message: trip.to_string(),
            can_be_allowed: trip.can_be_allowed(),
        };
        self.breaker = trips.iter().map(tripped).collect();
        self.trips = trips;
        // Deletions that were completed before the list come first.
        for line in lines {
            self.push(line);
        }
    }

    fn push(&mut self, line: Line) -> usize {
        let index = self.namespaces.len();
        self.index.insert(line.uid.clone(), index);
        self.namespaces.push(line);
        index
    }

    pub(super) fn note(&mut self, name: &str, uid: &str, outcome: Outcome) {
        let known = self.index.get(uid).copied();
        let index = known.unwrap_or_else(|| self.push(Line::of_earlier(name, uid)));
        if let Some(line) = self.namespaces.get_mut(index) {
            line.outcome = Some(outcome);
        }
    }

    pub(super) fn end(&mut self, now: Timestamp, complete: bool) {
        (self.finished_at, self.complete) = (now, complete);
    }

    /// The limits at which the circuit breaker tripped.
    pub(crate) fn trips(&self) -> &[Trip] {
        &self.trips
    }

    fn count(&self, counts: impl Fn(&Line) -> bool) -> u32 {
        u32::try_from(self.namespaces.iter().filter(|line| counts(line)).count()).unwrap_or(u32::MAX)
    }

    /// The number of managed namespaces.
    pub fn managed(&self) -> u32 {
        self.count(|line| line.reason != "begun_earlier")
    }

    /// The number of namespaces that were due.
    pub fn due(&self) -> u32 {
        self.count(|line| line.verdict == "delete" && line.reason != "begun_earlier")
    }

    /// The number of those that were due for reasons other than their own lease.
    pub(crate) fn due_by_policy(&self) -> u32 {
        self.count(|line| line.is_due_by_policy)
    }

    /// The number of namespaces that were due and still exist.
    pub fn left(&self) -> u32 {
        self.count(|line| {
            line.verdict == "delete"
                && line.reason != "begun_earlier"
                && !matches!(line.outcome, Some(Outcome::Deleted | Outcome::AlreadyDeleted))
        })
    }

    /// The number of namespaces that are left to the next sweep.
    pub fn postponed(&self) -> u32 {
        self.count(|line| line.outcome == Some(Outcome::Postponed))
    }

    /// The namespaces that are retained beyond lease, retention, hold and `cleanup.workGrace`, by reason.
    pub(crate) fn overdue(&self) -> BTreeMap<&'static str, u32> {
        let mut overdue = BTreeMap::new();
        for line in self.namespaces.iter().filter(|line| line.is_overdue) {
            *overdue.entry(line.reason).or_default() += 1;
        }
        overdue
    }

    /// The number of namespaces that are gone.
    pub fn deleted(&self) -> u32 {
        self.count(|line| line.outcome == Some(Outcome::Deleted))
    }

    /// The number of namespaces that could not be deleted.
    pub fn failed(&self) -> u32 {
        self.count(|line| matches!(line.outcome, Some(Outcome::Failed { .. })))
    }

    /// The number of namespaces that are still terminating at the timeout.
    pub fn stuck(&self) -> u32 {
        self.count(|line| matches!(line.outcome, Some(Outcome::Terminating { .. })))
    }

    /// The number of retained namespaces, by reason.
    pub(crate) fn retained(&self) -> BTreeMap<&'static str, u32> {
        let mut retained = BTreeMap::new();
        for line in &self.namespaces {
            let reason = match &line.outcome {
                Some(Outcome::Retained { reason, .. }) => Some(*reason),
                None if line.verdict != "delete" => Some(line.reason),
                _ => None,
            };
            if let Some(reason) = reason {
                *retained.entry(reason).or_default() += 1;
            }
        }
        retained
    }
}
