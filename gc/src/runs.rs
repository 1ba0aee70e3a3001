//! What the platform's database says of the runs.

use std::error::Error;

use codex_k8s_shared::keys;

use crate::decide::{Candidate, Run};

/// Why the database's answers cannot be used. A sweep without them deletes nothing.
#[derive(Debug, thiserror::Error)]
#[error("failed to ask the platform's database for the runs; without it nothing is deleted")]
pub struct RunsError(#[source] Box<dyn Error + Send + Sync>);

/// Where runs are looked up.
#[derive(Debug, Clone, Default)]
pub enum Runs {
    /// Nowhere: leases alone count.
    #[default]
    NotAsked,
}

impl Runs {
    /// Whether a database is asked.
    pub const fn are_asked(&self) -> bool {
        !matches!(self, Self::NotAsked)
    }

    /// Notes for each namespace what became of its run.
    ///
    /// # Errors
    /// If the database does not answer, or not as the platform's does.
    pub async fn look_up(&self, candidates: &mut [Candidate]) -> Result<(), RunsError> {
        match self {
            Self::NotAsked => {
                note(candidates, |_| Run::NotAsked);
                std::future::ready(Ok(())).await
            }
        }
    }
}

fn note(candidates: &mut [Candidate], mut run: impl FnMut(&str) -> Run) {
    for candidate in candidates {
        candidate.run = run(candidate.label(keys::RUN_ID).unwrap_or_default());
    }
}
