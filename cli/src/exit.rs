//! How a command ends: its exit code, and the error that ended it early.

use std::process::ExitCode;

use codex_k8s_gc::install::LeaseError;
use codex_k8s_gc::session::SessionError;
use codex_k8s_gc::sweep::SweepError;

/// What a command ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done, or there was nothing to do; what was checked is fine.
    Done = 0,
    /// Some of it failed, or what was checked is not fine.
    #[default]
    Failed = 1,
    /// It was called wrongly, or given what cannot be read. Also what clap ends with.
    Usage = 2,
    /// The breaker tripped, or the API server refused.
    Refused = 3,
    /// The API server gave no answer that can be used.
    Cluster = 4,
    /// A database gave no answer that can be used.
    Database = 5,
    /// Another sweep is at work.
    Busy = 6,
}

/// The codes of the commands that delete namespaces or report about it.
pub(crate) const HELP: &str = "\
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

/// What ended a command early, and the code for it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// Why.
    pub(crate) error: anyhow::Error,
}

/// Errors without a code of their own have the default one.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::default(), error: error.into() }
    }
}

/// What a command comes to.
pub(crate) type Ended = Result<Exit, Failure>;

/// Results that end a command with a code of their own.
pub(crate) trait OrExit<T> {
    /// The value, or the end of the command.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

/// The end of a command that has no other codes than those of success and failure.
pub(crate) fn ended(result: anyhow::Result<()>) -> Ended {
    result.map(|()| Exit::Done).map_err(Failure::from)
}

/// The code of what ended a sweep early.
pub(crate) const fn of_sweep(error: &SweepError) -> Exit {
    match error {
        SweepError::Cluster(_) => Exit::Cluster,
        SweepError::Store(_) | SweepError::Runs(_) => Exit::Database,
        SweepError::LeaseLost => Exit::Busy,
    }
}

/// The code of why there was no sweep.
pub(crate) const fn of_session(error: &SessionError) -> Exit {
    match error {
        SessionError::Lease(LeaseError::Held { .. }) => Exit::Busy,
        SessionError::Lease(LeaseError::Unreachable { .. } | LeaseError::Refused { .. }) => Exit::Cluster,
        SessionError::Sweep(error) => of_sweep(error),
    }
}
