//! How `render` ends.

use std::process::ExitCode;

use codex_k8s_shared::cli::exit;
pub(super) use codex_k8s_shared::cli::exit::OrExit;

use crate::render::ApplyError;

/// What the command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It is printed or created; with --wait, the Job succeeded.
    Done = 0,
    /// The Job failed, or was deleted before its end.
    JobFailed = 1,
    /// There are no manifests for what was asked. Also what clap ends with.
    Usage = 2,
    /// Somebody else's, or refused by the API server.
    Refused = 3,
    /// The API server gave no answer that can be used.
    Cluster = 4,
    /// The database gave no answer that can be used.
    Database = 5,
}

/// The codes, for people.
pub(super) const HELP: &str = "\
Exit codes:
  0  printed or created; with --wait, the Job succeeded
  1  the Job failed, or was deleted before its end
  2  bad usage, a policy that cannot be read, or a run that has no manifests
  3  refused: a namespace or Job of that name is another's, or the API server says no
  4  the API server is not to be reached, or failed to answer
  5  the platform's database is not to be reached, cannot be used, or does not know the run";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What ended the command, and the code for it.
pub(super) type Failure = exit::Failure<Exit>;

/// What the command comes to.
pub(super) type Ended = Result<Exit, Failure>;

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let exit = match error {
            ApplyError::Failed { .. } => Exit::Cluster,
            ApplyError::Foreign { .. } | ApplyError::Terminating { .. } | ApplyError::Refused { .. } => {
                Exit::Refused
            }
        };
        Self { exit, error: error.into() }
    }
}
