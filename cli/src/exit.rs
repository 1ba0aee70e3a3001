//! How a command ends.

use std::process::ExitCode;

use codex_k8s_shared::cli::exit;
pub(super) use codex_k8s_shared::cli::exit::OrExit;

use crate::home::LeaseError;
use crate::session::SessionError;
use crate::sweep::SweepError;

/// What a command ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Exit {
    /// All was done, or there was nothing to do.
    Done = 0,
    /// Some of it failed.
    #[default]
    SomeFailed = 1,
    /// It was asked wrongly. Also what clap ends with.
    Usage = 2,
    /// The breaker tripped.
    Refused = 3,
    /// The API server gave no answer that can be used.
    Cluster = 4,
    /// A database gave no answer that can be used.
    Database = 5,
    /// Another sweep is at work.
    Busy = 6,
}

/// The codes, for people.
pub(super) const HELP: &str = "\
Exit codes:
  0  all was done, or there was nothing to do
  1  some of it failed: a namespace could not be deleted, or is still being deleted
  2  bad usage, or a policy that cannot be read
  3  the breaker tripped: nothing was deleted but what was due by its own lease
  4  the API server is not to be reached, or refused to answer or to give the Lease
  5  the audit store or the platform's database is not to be reached, or cannot be used
  6  another sweep is at work";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What ended a command, and the code for it.
pub(super) type Failure = exit::Failure<Exit>;

/// What a command comes to.
pub(super) type Ended = Result<Exit, Failure>;

/// The code of what ended a sweep early.
pub(super) const fn of_sweep(error: &SweepError) -> Exit {
    match error {
        SweepError::Cluster(_) => Exit::Cluster,
        SweepError::Store(_) | SweepError::Runs(_) => Exit::Database,
        SweepError::LeaseLost => Exit::Busy,
    }
}

/// The code of why there was no sweep.
pub(super) const fn of_session(error: &SessionError) -> Exit {
    match error {
        SessionError::Lease(LeaseError::Held { .. }) => Exit::Busy,
        SessionError::Lease(LeaseError::Unreachable { .. } | LeaseError::Refused { .. }) => Exit::Cluster,
        SessionError::Sweep(error) => of_sweep(error),
    }
}
