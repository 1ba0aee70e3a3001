//! Why a namespace goes or stays: a code for rows and metrics, and a sentence for people.

use std::fmt;

use jiff::Timestamp;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It carries no managed-by label.
    NotManaged,
    /// The policy protects it by name, or it is the platform's own.
    Protected,
    /// It is being deleted already.
    Terminating {
        /// Since when.
        since: Timestamp,
    },
    /// Neither a reserved prefix nor the form of a slot.
    NameOutOfScope,
    /// A label that is not a run namespace's.
    UnexpectedLabel {
        /// The label.
        key: &'static str,
        /// What it is.
        found: Option<String>,
        /// What a run namespace has there.
        expected: &'static str,
    },
    /// The run-id label is missing or empty.
    MissingRunId,
    /// Nothing proves that it was born managed.
    UnverifiedOrigin,
    /// The API server did not say when it was created.
    NoCreationTime,
    /// It is younger than now.
    CreatedInTheFuture {
        /// When it was created.
        created_at: Timestamp,
    },
    /// A person holds it.
    Held {
        /// Why.
        why: String,
    },
    /// There is a hold that cannot be read.
    UnreadableHold {
        /// It.
        found: String,
    },
    /// There is no lease.
    MissingLease,
    /// An annotation of the lease is missing or not of its form.
    UnreadableLease {
        /// The annotation.
        key: &'static str,
        /// What is expected there.
        expected: &'static str,
    },
    /// The annotations of the lease mean different ends.
    ContradictoryLease,
    /// The lease lives.
    LiveLease {
        /// When it ends.
        until: Timestamp,
    },
    /// The lease has just ended.
    Grace,
    /// The policy retains it longer.
    Retention,
    /// Its run has not ended.
    ActiveRun {
        /// Its status.
        status: String,
    },
    /// The platform's database does not know its run.
    UnknownRun,
    /// The policy or a flag says that nothing is deleted.
    CleanupDisabled,
    /// Nobody could look what is at work in it.
    NotInspected,
    /// Something works in it.
    ActiveWorkloads {
        /// What, by kind.
        work: Vec<String>,
    },
    /// Its lease and all retention have ended.
    TtlExpired,
    /// Its run has ended, and the policy retains it no longer.
    RunFinished,
}

impl Reason {
    /// The code that rows and metrics carry; where the platform has a word for it, that one (contract.md, section 6).
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

    /// Whether an operator ought to know: it stays for a cause that no time will fix.
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
            Self::NoCreationTime => out.write_str("nobody knows when it was created"),
            Self::CreatedInTheFuture { created_at } => {
                write!(out, "it was created at {created_at}, which is yet to come: a clock is wrong")
            }
            Self::Held { why } => write!(out, "somebody holds it: {why}"),
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
