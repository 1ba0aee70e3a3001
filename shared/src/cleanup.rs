//! The decision whether a namespace may be deleted. It is pure: facts and time are passed in.
//!
//! A namespace is deleted only if it is provably a run namespace (by its labels, its name and its creation through
//! the webhook), is neither protected nor held, its lease or the retention of its run has strictly passed, its run
//! has ended as far as that can be read, and nothing works in it. Missing, unreadable or contradictory facts retain
//! it.

mod reason;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::hold::Hold;
use crate::keys;
use crate::lease::{Lease, later};
use crate::policy::{MissingLease, Retention, RunPolicy, UnknownRun, UnverifiedOrigin};
use crate::run::RuntimeMode;

pub use reason::Reason;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `succeeded`
    Succeeded,
    /// `failed`
    Failed,
    /// `canceled`
    Canceled,
}

impl Outcome {
    /// The outcome of a terminal status of `agent_runs` (contract.md, section 6).
    pub fn of_status(status: &str) -> Option<Self> {
        match status {
            "succeeded" => Some(Self::Succeeded),
            "failed" => Some(Self::Failed),
            "canceled" => Some(Self::Canceled),
            _ => None,
        }
    }
}

/// The state of a namespace's run in the platform's database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Run {
    /// No database is configured; only leases count.
    #[default]
    NotRequested,
    /// The run is not in the database.
    Unknown,
    /// The run has not ended.
    Active {
        /// The status.
        status: String,
    },
    /// The run has ended.
    Ended {
        /// The outcome.
        outcome: Outcome,
        /// The time, if it was recorded.
        at: Option<Timestamp>,
    },
}

/// The work in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Work {
    /// The workloads were not inspected; such a namespace is never deleted.
    #[default]
    NotInspected,
    /// No work.
    Idle,
    /// Workloads that run or may still run.
    Active {
        /// All of them by kind, in the platform's form: `jobs=a,b`.
        found: Vec<String>,
        /// The Pods among them that a node runs or is about to run: `pods=a,b`. Only these count once
        /// `cleanup.workGrace` is over.
        scheduled: Vec<String>,
    },
}

/// A namespace with the facts about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The creation time.
    pub created_at: Option<Timestamp>,
    /// The time of the deletion request, if the namespace is terminating.
    pub terminating_since: Option<Timestamp>,
    /// The run.
    pub run: Run,
    /// The work.
    pub work: Work,
}

impl Candidate {
    /// A label. An empty one counts as absent.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The lease, if there is one that can be read.
    pub fn lease(&self) -> Option<Lease> {
        Lease::read(|key| self.annotation(key)).ok().flatten()
    }
}

/// The facts in the metadata of a namespace: neither its run nor its work.
#[cfg(feature = "kube")]
impl From<&k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta> for Candidate {
    fn from(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Self {
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations: meta.annotations.clone().unwrap_or_default(),
            created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
            terminating_since: meta.deletion_timestamp.as_ref().map(|time| time.0),
            run: Run::default(),
            work: Work::default(),
        }
    }
}

/// The decision about a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Retain it until something changes.
    Retain(Reason),
    /// Retain it until a time.
    Wait {
        /// The time of the next evaluation.
        until: Timestamp,
        /// The reason.
        reason: Reason,
    },
    /// Delete it.
    Delete(Reason),
}

impl Verdict {
    /// The reason.
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::Retain(reason) | Self::Delete(reason) | Self::Wait { reason, .. } => reason,
        }
    }

    /// `retain`, `wait` or `delete`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Retain(_) => "retain",
            Self::Wait { .. } => "wait",
            Self::Delete(_) => "delete",
        }
    }
}

/// Decides about a namespace.
pub fn decide(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> Verdict {
    verdict(policy, now, candidate).unwrap_or_else(|rest| rest)
}

/// Evaluates step by step. A step either passes, or returns the reason to retain the namespace as an error.
fn verdict(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> Result<Verdict, Verdict> {
    let mode = is_ours(policy, candidate)?;
    is_in_time(policy, now, candidate)?;
    is_not_held(now, candidate)?;
    let reason = is_due(policy, now, candidate, mode)?;
    run_has_ended(policy, candidate)?;
    if !policy.cleanup.enabled {
        return Err(Verdict::Retain(Reason::CleanupDisabled));
    }
    match &candidate.work {
        Work::Idle => Ok(Verdict::Delete(reason)),
        Work::NotInspected => Err(Verdict::Retain(Reason::NotInspected)),
        Work::Active { found, scheduled } => match overdue_since(policy, candidate) {
            Some(since) if since <= now && scheduled.is_empty() => Ok(Verdict::Delete(reason)),
            Some(since) if since <= now => {
                Err(Verdict::Retain(Reason::ActiveWorkloads { work: scheduled.clone() }))
            }
            _ => Err(Verdict::Retain(Reason::ActiveWorkloads { work: found.clone() })),
        },
    }
}

/// The end of `cleanup.workGrace` after lease, retention and hold; `None` without a readable lease. From then on only
/// scheduled Pods count as work, and a namespace that is still retained is overdue.
pub fn overdue_since(policy: &RunPolicy, candidate: &Candidate) -> Option<Timestamp> {
    let mode = candidate.label(keys::RUNTIME_MODE)?.parse().ok()?;
    let retention = retention(policy, candidate, mode);
    let by_lease = lease_end(policy, candidate).ok().and_then(|end| release(policy, end, retention))?;
    let held_until = match candidate.annotation(keys::HOLD).map(str::parse::<Hold>) {
        None => by_lease,
        Some(Ok(hold)) => hold.until.timestamp(),
        Some(Err(_)) => return None,
    };
    later(by_lease.max(held_until), policy.cleanup.work_grace)
}

/// Returns true if a namespace is retained although [`overdue_since`] has passed, unless it is unmanaged, protected or
/// already terminating.
pub fn is_overdue(policy: &RunPolicy, now: Timestamp, candidate: &Candidate, verdict: &Verdict) -> bool {
    let in_scope = match verdict {
        Verdict::Delete(_) => false,
        Verdict::Retain(reason) => {
            !matches!(reason, Reason::NotManaged | Reason::Protected | Reason::Terminating { .. })
        }
        Verdict::Wait { .. } => true,
    };
    in_scope && overdue_since(policy, candidate).is_some_and(|since| since <= now)
}

/// Returns true if a namespace is due by its own lease alone: the lease is readable and consistent, had not ended
/// when the namespace was created, and has ended together with everything that the policy adds to it.
///
/// The requester knew the end of such a lease when it was written, and admission denies every other one. A namespace
/// that is due for another reason (the policy's handling of a missing lease, retention after the end of a run, labels
/// without a proven origin, a lease that ended before its namespace existed, as in a restored backup) may be due
/// because a policy, a database or a selector is wrong.
pub fn is_due_by_lease(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> bool {
    let Ok(mode) = is_ours(policy, candidate) else { return false };
    if !is_proven(candidate) {
        return false;
    }
    let Some(lease) = candidate.lease().filter(|lease| lease.is_consistent(policy.lease.tolerance)) else {
        return false;
    };
    let end = lease.expires_at.timestamp();
    let is_promised = candidate.created_at.is_some_and(|created_at| created_at < end);
    let by_lease = release(policy, end, retention(policy, candidate, mode));
    is_promised && by_lease.is_some_and(|by_lease| by_lease <= now)
}

fn is_ours(policy: &RunPolicy, candidate: &Candidate) -> Result<RuntimeMode, Verdict> {
    let keep = |reason| Err(Verdict::Retain(reason));
    let name = candidate.name.as_str();
    if candidate.label(keys::MANAGED_BY).is_none() {
        return keep(Reason::NotManaged);
    }
    if policy.namespaces.is_protected(name) {
        return keep(Reason::Protected);
    }
    if let Some(since) = candidate.terminating_since {
        return keep(Reason::Terminating { since });
    }
    if !policy.namespaces.is_of_a_run(name) {
        return keep(Reason::NameOutOfScope);
    }
    for (key, expected) in
        [(keys::MANAGED_BY, keys::MANAGED_BY_VALUE), (keys::NAMESPACE_PURPOSE, keys::NAMESPACE_PURPOSE_VALUE)]
    {
        if candidate.label(key) != Some(expected) {
            let found = candidate.label(key).map(str::to_owned);
            return keep(Reason::UnexpectedLabel { key, found, expected });
        }
    }
    let mode = candidate.label(keys::RUNTIME_MODE);
    let Some(mode) = mode.and_then(|mode| mode.parse().ok()) else {
        let (key, found) = (keys::RUNTIME_MODE, mode.map(str::to_owned));
        return keep(Reason::UnexpectedLabel { key, found, expected: "full-env or code-only" });
    };
    if candidate.label(keys::RUN_ID).is_none() {
        return keep(Reason::MissingRunId);
    }
    if !is_proven(candidate) && policy.cleanup.unverified_origin == UnverifiedOrigin::Retain {
        return keep(Reason::UnverifiedOrigin);
    }
    Ok(mode)
}

/// Returns true if the webhook recorded the requester, as it does for each creation.
fn is_proven(candidate: &Candidate) -> bool {
    candidate.annotation(keys::REQUESTED_BY).is_some_and(|by| !by.is_empty())
}

/// The time at which the lease allows deletion: after `cleanup.grace` and the retention.
fn release(policy: &RunPolicy, lease_end: Timestamp, retention: Retention) -> Option<Timestamp> {
    later(lease_end, policy.cleanup.grace.saturating_add(retention.after_lease.unwrap_or_default()))
}

/// Retains a namespace whose creation lies in the future: the clock is wrong then, and every lease may be misread.
fn is_in_time(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> Result<(), Verdict> {
    let Some(created_at) = candidate.created_at else {
        return Err(Verdict::Retain(Reason::NoCreationTime));
    };
    match later(now, policy.cleanup.breaker.max_clock_skew) {
        Some(limit) if created_at <= limit => Ok(()),
        _ => Err(Verdict::Retain(Reason::CreatedInTheFuture { created_at })),
    }
}

fn is_not_held(now: Timestamp, candidate: &Candidate) -> Result<(), Verdict> {
    let Some(text) = candidate.annotation(keys::HOLD) else { return Ok(()) };
    match text.parse::<Hold>() {
        Ok(hold) if hold.until.timestamp() <= now => Ok(()),
        Ok(hold) => {
            let until = hold.until.timestamp();
            Err(Verdict::Wait { until, reason: Reason::Held { why: hold.why } })
        }
        // An unreadable hold still shows the intention to retain the namespace.
        Err(_) => Err(Verdict::Retain(Reason::UnreadableHold { found: text.chars().take(80).collect() })),
    }
}

/// The end of the lease, either its own or the one that the policy assumes if the lease is missing.
fn lease_end(policy: &RunPolicy, candidate: &Candidate) -> Result<Timestamp, Verdict> {
    let reason = match Lease::read(|key| candidate.annotation(key)) {
        Ok(Some(lease)) if lease.is_consistent(policy.lease.tolerance) => {
            return Ok(lease.expires_at.timestamp());
        }
        // Two programs would read two different ends, so neither is trusted.
        Ok(Some(_)) => return Err(Verdict::Retain(Reason::ContradictoryLease)),
        Ok(None) => Reason::MissingLease,
        Err(error) => Reason::UnreadableLease { key: error.key(), expected: error.expected() },
    };
    let by_age = policy.cleanup.missing_lease == MissingLease::UseAge;
    let ttl = policy.lease.ttl_for(candidate.label(keys::AGENT_KEY));
    let end = candidate.created_at.filter(|_| by_age).and_then(|created_at| later(created_at, ttl));
    end.ok_or(Verdict::Retain(reason))
}

/// The reason for which the namespace may be deleted now, if there is one.
fn is_due(
    policy: &RunPolicy,
    now: Timestamp,
    candidate: &Candidate,
    mode: RuntimeMode,
) -> Result<Reason, Verdict> {
    let retention = retention(policy, candidate, mode);
    let lease_end = lease_end(policy, candidate)?;
    let by_lease =
        release(policy, lease_end, retention).ok_or(Verdict::Retain(Reason::ContradictoryLease))?;
    let ended_at = match candidate.run {
        Run::Ended { at, .. } => at,
        _ => None,
    };
    let by_run = retention.after_finish.and_then(|after| later(ended_at?, after));
    match by_run.filter(|by_run| *by_run < by_lease) {
        Some(by_run) if by_run <= now => Ok(Reason::RunFinished),
        Some(by_run) => Err(Verdict::Wait { until: by_run, reason: Reason::Retention }),
        None if by_lease <= now => Ok(Reason::TtlExpired),
        None if lease_end <= now => {
            let reason = if retention.after_lease.is_some() { Reason::Retention } else { Reason::Grace };
            Err(Verdict::Wait { until: by_lease, reason })
        }
        None => Err(Verdict::Wait { until: by_lease, reason: Reason::LiveLease { until: lease_end } }),
    }
}

fn retention(policy: &RunPolicy, candidate: &Candidate, mode: RuntimeMode) -> Retention {
    let by_outcome = policy.cleanup.retention.of(mode);
    match candidate.run {
        Run::Ended { outcome: Outcome::Succeeded, .. } => by_outcome.succeeded,
        Run::Ended { outcome: Outcome::Failed, .. } => by_outcome.failed,
        Run::Ended { outcome: Outcome::Canceled, .. } => by_outcome.canceled,
        _ => Retention::default(),
    }
}

fn run_has_ended(policy: &RunPolicy, candidate: &Candidate) -> Result<(), Verdict> {
    match &candidate.run {
        Run::Active { status } => Err(Verdict::Retain(Reason::ActiveRun { status: status.clone() })),
        Run::Unknown if policy.cleanup.unknown_run == UnknownRun::Retain => {
            Err(Verdict::Retain(Reason::UnknownRun))
        }
        Run::NotRequested | Run::Unknown | Run::Ended { .. } => Ok(()),
    }
}
