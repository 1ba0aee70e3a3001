//! What a sweep saw and did.

use std::collections::{BTreeMap, HashMap};

use codex_k8s_shared::cleanup::Verdict;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use serde::Serialize;

use super::DryRun;
use crate::breaker::Trip;
use crate::plan::Planned;

/// A sweep, as it is printed and noted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// `none`, `client` or `server`.
    pub dry_run: &'static str,
    /// The hash of the policy.
    pub policy_hash: String,
    /// Whether everything was looked at; else it ended early.
    pub complete: bool,
    /// What the breaker tripped at: only what was due by its own lease was deleted, or nothing at all.
    pub breaker: Vec<Tripped>,
    /// The namespaces: what is due first, the oldest first.
    pub namespaces: Vec<Line>,
    /// What is left over of namespaces that are gone.
    pub leaks: Vec<Leak>,
    #[serde(skip)]
    trips: Vec<Trip>,
    /// Where the line of a uid stands.
    #[serde(skip)]
    index: HashMap<String, usize>,
}

/// A cause of the breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tripped {
    /// Its code.
    pub code: &'static str,
    /// It, in words.
    pub message: String,
    /// Whether a person may let it pass this once.
    pub can_be_allowed: bool,
}

/// Something that is left over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// What.
    pub what: String,
    /// The command that fixes it.
    pub command: String,
}

/// A namespace in a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its name.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its run, as its label says.
    pub run_id: String,
    /// `retain`, `wait` or `delete`.
    pub verdict: &'static str,
    /// Why, as a code.
    pub reason: &'static str,
    /// Why, in words.
    pub message: String,
    /// When it is to be looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When its lease ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// Since when it is being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_since: Option<Timestamp>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whether an operator ought to know.
    #[serde(skip)]
    pub is_lasting: bool,
    /// Whether it is due by anything but its own lease.
    #[serde(skip)]
    pub is_due_by_policy: bool,
    /// Whether it is kept beyond lease, retention, hold and `cleanup.workGrace`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_overdue: bool,
}

/// What came of a namespace that was due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Outcome {
    /// It is gone.
    Deleted,
    /// Somebody else had deleted it.
    AlreadyDeleted,
    /// It would be deleted.
    WouldDelete,
    /// It is left to the next sweep, because this one has deleted as many as it may.
    Postponed,
    /// It stays after all: it was changed after the list.
    Retained {
        /// Why, as a code.
        reason: &'static str,
        /// Why, in words.
        message: String,
    },
    /// It could not be deleted.
    Failed {
        /// Why not.
        error: String,
    },
    /// It is still being deleted after the time that it may take.
    Terminating {
        /// What keeps it.
        blockers: Vec<String>,
    },
}

impl Outcome {
    /// It stays.
    pub fn retained(verdict: &Verdict) -> Self {
        Self::Retained { reason: verdict.reason().code(), message: verdict.reason().to_string() }
    }
}

impl Line {
    /// As it was decided.
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

    /// Of a namespace that was not listed any more, or is another one now.
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
        // What was brought to its end before the list comes first.
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

    /// What the breaker tripped at.
    pub fn trips(&self) -> &[Trip] {
        &self.trips
    }

    fn count(&self, counts: impl Fn(&Line) -> bool) -> u32 {
        u32::try_from(self.namespaces.iter().filter(|line| counts(line)).count()).unwrap_or(u32::MAX)
    }

    /// Managed namespaces that were listed.
    pub fn managed(&self) -> u32 {
        self.count(|line| line.reason != "begun_earlier")
    }

    /// Those that were due.
    pub fn due(&self) -> u32 {
        self.count(|line| line.verdict == "delete" && line.reason != "begun_earlier")
    }

    /// Those that were due by anything but their own leases.
    pub fn due_by_policy(&self) -> u32 {
        self.count(|line| line.is_due_by_policy)
    }

    /// Those that were due and are still there.
    pub fn left(&self) -> u32 {
        self.count(|line| {
            line.verdict == "delete"
                && line.reason != "begun_earlier"
                && !matches!(line.outcome, Some(Outcome::Deleted | Outcome::AlreadyDeleted))
        })
    }

    /// Those that are left to the next sweep.
    pub fn postponed(&self) -> u32 {
        self.count(|line| line.outcome == Some(Outcome::Postponed))
    }

    /// Those that are kept beyond lease, retention, hold and `cleanup.workGrace`, by reason.
    pub fn overdue(&self) -> BTreeMap<&'static str, u32> {
        let mut overdue = BTreeMap::new();
        for line in self.namespaces.iter().filter(|line| line.is_overdue) {
            *overdue.entry(line.reason).or_default() += 1;
        }
        overdue
    }

    /// Those that are gone now.
    pub fn deleted(&self) -> u32 {
        self.count(|line| line.outcome == Some(Outcome::Deleted))
    }

    /// Those that could not be deleted.
    pub fn failed(&self) -> u32 {
        self.count(|line| matches!(line.outcome, Some(Outcome::Failed { .. })))
    }

    /// Those that are still being deleted after the time that it may take.
    pub fn stuck(&self) -> u32 {
        self.count(|line| matches!(line.outcome, Some(Outcome::Terminating { .. })))
    }

    /// Those that stay, by reason.
    pub fn retained(&self) -> BTreeMap<&'static str, u32> {
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
