//! What an earlier sweep has begun and not told the end of: it was killed, or the store was not to be reached.

use codex_k8s_shared::audit::{Row, Store};
use futures::{StreamExt, TryStreamExt};

use super::report::Outcome;
use super::{State, Sweep, SweepError};
use crate::cluster::blockers::Remains;
use crate::rows::{Decision, INTERRUPTED};

/// Namespaces that are looked at, at a time.
const AT_A_TIME: usize = 8;

impl Sweep<'_> {
    /// Brings open intentions to their end, and returns those whose namespaces are still being deleted.
    pub(super) async fn repair(&self, state: &State) -> Result<Vec<Decision>, SweepError> {
        let Some(store) = self.store else { return Ok(Vec::new()) };
        let open = store.open_intentions().await?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        self.progress.phase("ending what an earlier sweep has begun", open.len());
        let begun: Vec<_> = futures::stream::iter(&open)
            .map(|row| self.bring_to_its_end(state, row))
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        Ok(begun.into_iter().flatten().collect())
    }

    async fn bring_to_its_end(&self, state: &State, row: &Row) -> Result<Option<Decision>, SweepError> {
        self.progress.step();
        let Some(decision) = Decision::of_row(row) else { return Ok(None) };
        let (name, uid) = (&decision.candidate.name, &decision.candidate.uid);
        match self.cluster.remains(name, uid).await? {
            Remains::Terminating { .. } => return Ok(Some(decision)),
            Remains::Gone => {
                self.append(self.scribe.cleaned(&decision, self.clock.now())).await?;
                state.note(name, uid, Outcome::Deleted);
            }
            // It is decided about again, as all others are.
            Remains::Lives => {
                let event = self.scribe.given_up(&decision, INTERRUPTED, self.clock.now());
                self.append(event).await?;
            }
        }
        Ok(None)
    }
}
