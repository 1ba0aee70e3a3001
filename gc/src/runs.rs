//! What the platform's database says of the runs.

use std::collections::BTreeMap;

use codex_k8s_shared::cleanup::{Candidate, Outcome, Run};
use codex_k8s_shared::database::PgAddress;
use codex_k8s_shared::keys;
use codex_k8s_shared::runs::{PlatformRuns, RunRow, RunsError};

/// Where runs are looked up, before it is reached.
#[derive(Debug, Clone, Default)]
pub enum RunsSource {
    /// Nowhere: leases alone count.
    #[default]
    Nowhere,
    /// In the platform's database.
    Platform(PgAddress),
}

/// Where runs are looked up.
#[derive(Debug, Clone, Default)]
pub enum Runs {
    /// Nowhere.
    #[default]
    NotRequested,
    /// In the platform's database.
    Platform(PlatformRuns),
}

impl RunsSource {
    /// Reaches it.
    ///
    /// # Errors
    /// If it cannot be reached, or is not the platform's.
    pub async fn open(&self) -> Result<Runs, RunsError> {
        match self {
            Self::Nowhere => Ok(Runs::NotRequested),
            Self::Platform(address) => PlatformRuns::open(address).await.map(Runs::Platform),
        }
    }
}

impl Runs {
    /// Whether a database is asked.
    pub const fn are_requested(&self) -> bool {
        matches!(self, Self::Platform(_))
    }

    /// Notes for each namespace what became of its run.
    ///
    /// # Errors
    /// If the database does not answer, or not as the platform's does.
    pub async fn look_up(&self, candidates: &mut [Candidate]) -> Result<(), RunsError> {
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

    /// Closes what was opened.
    pub async fn close(&self) {
        if let Self::Platform(platform) = self {
            platform.close().await;
        }
    }
}

/// What a row says. A status that is not known to be an end is none.
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
