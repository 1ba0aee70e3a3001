//! The end of a command: its exit code, and the error that ended it early.

use std::process::ExitCode;

use codex_k8s_gc::install::LeaseError;
use codex_k8s_gc::session::SessionError;
use codex_k8s_gc::sweep::SweepError;

/// The exit code of a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success, nothing to do, or no problem found.
    Done,
    /// Partial failure, or problems found.
    #[default]
    Failed,
    /// Invalid usage or unreadable input. Also the code that clap exits with.
    Usage,
    /// The circuit breaker tripped, or the API server refused.
    Refused,
    /// The API server returned no usable response.
    Cluster,
    /// A database returned no usable response.
    Database,
    /// Another sweep is running.
    Busy,
    /// The exit code of the command in a Job.
    Mirrored(u8),
}

/// The exit codes of the commands that delete namespaces or report deletions.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success, or nothing to do
  1  partial failure: a namespace could not be deleted or is still being deleted
  2  invalid usage or an unreadable policy
  3  the circuit breaker tripped: only namespaces whose own lease is over were deleted
  4  the API server is unreachable, or refused a request or the Lease
  5  the audit store or the platform's database is unreachable or unusable
  6  another sweep is running";

/// The exit codes of the commands that only read the cluster.
pub(crate) const HELP_TO_READ: &str = "\
Exit codes:
  0  success
  1  a namespace that is named was not found
  2  invalid usage
  4  the API server is unreachable, or refused a request";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Cluster => 4,
            Exit::Database => 5,
            Exit::Busy => 6,
            Exit::Mirrored(code) => code,
        })
    }
}

/// The error that ended a command early, and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The reason.
    pub(crate) error: anyhow::Error,
}

/// Errors without an exit code of their own get the default one.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::default(), error: error.into() }
    }
}

/// The outcome of a command.
pub(crate) type Ended = Result<Exit, Failure>;

/// Results whose error ends the command with a given exit code.
pub(crate) trait OrExit<T> {
    /// Returns the value, or the failure that ends the command.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

/// The outcome of a command whose only exit codes are those of success and failure.
pub(crate) fn ended(result: anyhow::Result<()>) -> Ended {
    result.map(|()| Exit::Done).map_err(Failure::from)
}

/// The exit code of an error that ended a sweep early.
pub(crate) const fn of_sweep(error: &SweepError) -> Exit {
    match error {
        SweepError::Cluster(_) => Exit::Cluster,
        SweepError::Store(_) | SweepError::Runs(_) => Exit::Database,
        SweepError::LeaseLost => Exit::Busy,
        SweepError::Interrupted => Exit::Failed,
    }
}

/// The exit code of an error that prevented a sweep.
pub(crate) const fn of_session(error: &SessionError) -> Exit {
    match error {
        SessionError::Lease(LeaseError::Held { .. }) => Exit::Busy,
        SessionError::Lease(LeaseError::Unreachable { .. } | LeaseError::Refused { .. }) => Exit::Cluster,
        SessionError::Sweep(error) => of_sweep(error),
    }
}
