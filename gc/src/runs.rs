//! The runs in the platform's database.

use std::collections::BTreeMap;

use codex_k8s_shared::cleanup::{Candidate, Outcome, Run};
use codex_k8s_shared::database::PgAddress;
use codex_k8s_shared::keys;
use codex_k8s_shared::runs::{PlatformRuns, RunRow, RunsError};

/// The source of runs, before it is opened.
#[derive(Debug, Clone, Default)]
pub enum RunsSource {
    /// No source: only leases count.
    #[default]
    Nowhere,
    /// The platform's database.
    Platform(PgAddress),
}

/// An open source of runs.
#[derive(Debug, Clone, Default)]
pub enum Runs {
    /// No source.
    #[default]
    NotRequested,
    /// The platform's database.
    Platform(PlatformRuns),
}

impl RunsSource {
    /// Opens the source.
    ///
    /// # Errors
    /// If the database cannot be reached, or is not the platform's.
    pub async fn open(&self) -> Result<Runs, RunsError> {
        match self {
            Self::Nowhere => Ok(Runs::NotRequested),
            Self::Platform(address) => PlatformRuns::open(address).await.map(Runs::Platform),
        }
    }
}

impl Runs {
    /// Returns true if there is a database.
    pub(crate) const fn are_requested(&self) -> bool {
        matches!(self, Self::Platform(_))
    }

    /// Adds the state of its run to each namespace.
    ///
    /// # Errors
    /// If the database does not respond, or is not the platform's.
    pub async fn add_states(&self, candidates: &mut [Candidate]) -> Result<(), RunsError> {
        let Self::Platform(platform) = self else { return Ok(()) };
        let found = {
            let ids: Vec<_> =
                candidates.iter().filter_map(|candidate| candidate.label(keys::RUN_ID)).collect();
            if ids.is_empty() { BTreeMap::new() } else { platform.of(&ids).await? }
        };
        for candidate in candidates {
            let row = candidate.label(keys::RUN_ID).and_then(|id| found.get(id));
            candidate.run = row.map_or(Run::Unknown, run);
        }
        Ok(())
    }

    /// Closes the source.
    pub(crate) async fn close(&self) {
        if let Self::Platform(platform) = self {
            platform.close().await;
        }
    }
}

/// The run of a row. A status that is not a known terminal one counts as active.
fn run(row: &RunRow) -> Run {
    match Outcome::of_status(&row.status) {
        Some(outcome) => Run::Ended { outcome, at: row.finished_at },
        None => Run::Active { status: row.status.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_ends_are_ends() {
        for (status, ended) in [
            ("succeeded", true),
            ("failed", true),
            ("canceled", true),
            ("pending", false),
            ("running", false),
            ("waiting_backpressure", false),
            ("cancelled", false),
            ("", false),
        ] {
            let row = RunRow { status: status.to_owned(), finished_at: None };
            assert_eq!(matches!(run(&row), Run::Ended { .. }), ended, "{status:?}");
        }
    }
}
