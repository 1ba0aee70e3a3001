//! The reasons to delete or retain a namespace: a code for rows and metrics, and a sentence for users.

use std::fmt;

use jiff::Timestamp;

/// A reason to delete or retain a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The label `managed-by` is missing.
    NotManaged,
    /// The policy protects it by name, or it is a platform namespace.
    Protected,
    /// It is already terminating.
    Terminating {
        /// The time of the deletion request.
        since: Timestamp,
    },
    /// The name has neither a reserved prefix nor the form of a slot.
    NameOutOfScope,
    /// A label has a value that run namespaces do not have.
    UnexpectedLabel {
        /// The label.
        key: &'static str,
        /// The actual value.
        found: Option<String>,
        /// The value in run namespaces.
        expected: &'static str,
    },
    /// The label `run-id` is missing or empty.
    MissingRunId,
    /// The creation through the webhook cannot be proven.
    UnverifiedOrigin,
    /// The API server did not report the creation time.
    NoCreationTime,
    /// The creation time lies in the future.
    CreatedInTheFuture {
        /// The creation time.
        created_at: Timestamp,
    },
    /// A person has set a hold.
    Held {
        /// The reason of the hold.
        why: String,
    },
    /// The hold cannot be read.
    UnreadableHold {
        /// The value of the annotation.
        found: String,
    },
    /// There is no lease.
    MissingLease,
    /// An annotation of the lease is missing or invalid.
    UnreadableLease {
        /// The annotation.
        key: &'static str,
        /// The expected form.
        expected: &'static str,
    },
    /// The annotations of the lease imply different ends.
    ContradictoryLease,
    /// The lease has not ended.
    LiveLease {
        /// The end of the lease.
        until: Timestamp,
    },
    /// The lease has ended, `cleanup.grace` has not.
    Grace,
    /// The policy retains it longer.
    Retention,
    /// The run has not ended.
    ActiveRun {
        /// The status of the run.
        status: String,
    },
    /// The run is not in the platform's database.
    UnknownRun,
    /// The policy or a flag disables deletions.
    CleanupDisabled,
    /// The workloads in it could not be inspected.
    NotInspected,
    /// Workloads are active in it.
    ActiveWorkloads {
        /// The workloads, by kind.
        work: Vec<String>,
    },
    /// The lease and all retention have ended.
    TtlExpired,
    /// The run has ended, and so has its retention.
    RunFinished,
}

impl Reason {
    /// The code in rows and metrics. If the platform has one for the reason, it is the same (contract.md, section 6).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotManaged => "not_managed",
            Self::Protected => "protected_namespace",
            Self::Terminating { .. } => "terminating",
            Self::NameOutOfScope => "name_out_of_scope",
            Self::UnexpectedLabel { .. } => "foreign_label",
            Self::MissingRunId => "missing_run_id_label",
            Self::UnverifiedOrigin => "not_created_by_webhook",
            Self::NoCreationTime => "missing_creation_time",
            Self::CreatedInTheFuture { .. } => "created_in_the_future",
            Self::Held { .. } => "held",
            Self::UnreadableHold { .. } => "unreadable_hold",
            Self::MissingLease => "missing_effective_lease",
            Self::UnreadableLease { .. } => "unreadable_lease",
            Self::ContradictoryLease => "contradictory_lease",
            Self::LiveLease { .. } => "lease_lives",
            Self::Grace => "grace_period",
            Self::Retention => "retained",
            Self::ActiveRun { .. } => "active_run_in_db",
            Self::UnknownRun => "run_unknown_in_db",
            Self::CleanupDisabled => "cleanup_disabled_by_config",
            Self::NotInspected => "workload_inspection_failed",
            Self::ActiveWorkloads { .. } => "active_workloads_present",
            Self::TtlExpired => "ttl_expired",
            Self::RunFinished => "run_finished",
        }
    }

    /// Returns true if an operator must act, because the reason does not go away with time.
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::NameOutOfScope
                | Self::UnexpectedLabel { .. }
                | Self::MissingRunId
                | Self::UnverifiedOrigin
                | Self::NoCreationTime
                | Self::CreatedInTheFuture { .. }
                | Self::UnreadableHold { .. }
                | Self::MissingLease
                | Self::UnreadableLease { .. }
                | Self::ContradictoryLease
                | Self::UnknownRun
                | Self::NotInspected
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotManaged => out.write_str("it carries no managed-by label"),
            Self::Protected => out.write_str("the policy protects it"),
            Self::Terminating { since } => write!(out, "it is being deleted since {since}"),
            Self::NameOutOfScope => {
                out.write_str("its name has neither a reserved prefix nor the form of a slot")
            }
            Self::UnexpectedLabel { key, found, expected } => match found {
                Some(found) => write!(out, "label {key} is {found:?}; a run namespace has {expected}"),
                None => write!(out, "label {key} is missing; a run namespace has {expected}"),
            },
            Self::MissingRunId => out.write_str("it names no run"),
            Self::UnverifiedOrigin => out.write_str("nothing proves that it was born managed"),
            Self::NoCreationTime => out.write_str("its creation time is unknown"),
            Self::CreatedInTheFuture { created_at } => {
                write!(out, "it was created at {created_at}, which is yet to come: a clock is wrong")
            }
            Self::Held { why } => write!(out, "a hold blocks its deletion: {why}"),
            Self::UnreadableHold { found } => write!(out, "its hold {found:?} cannot be read"),
            Self::MissingLease => out.write_str("it has no lease"),
            Self::UnreadableLease { key, expected } => write!(out, "{key} cannot be read; {expected}"),
            Self::ContradictoryLease => {
                out.write_str("its lease contradicts itself: updated-at plus ttl is not expires-at")
            }
            Self::LiveLease { until } => write!(out, "its lease lives until {until}"),
            Self::Grace => out.write_str("its lease has just ended"),
            Self::Retention => out.write_str("the policy retains it"),
            Self::ActiveRun { status } => write!(out, "its run is {status}"),
            Self::UnknownRun => out.write_str("the database does not know its run"),
            Self::CleanupDisabled => out.write_str("cleanup is switched off"),
            Self::NotInspected => out.write_str("what works in it could not be seen"),
            Self::ActiveWorkloads { work } => write!(out, "something works in it: {}", work.join(" ")),
            Self::TtlExpired => out.write_str("its lease has ended"),
            Self::RunFinished => out.write_str("its run has ended"),
        }
    }
}
