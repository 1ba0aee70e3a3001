//! What an earlier sweep has begun and not told the end of: it was killed, or the store was not to be reached. Or another
//! sweep is at it at this moment, although the Lease is ours: then nothing may be told that it will prove wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use codex_k8s_shared::audit::{Row, Store};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::report::Outcome;
use super::{State, Sweep, SweepError};
use crate::rows::{CHANGED, Decision, INTERRUPTED};

/// Namespaces that are looked at, at a time.
const MAX_CONCURRENT: usize = 8;
/// No deletion is under way for as long as this: what was intended before then was never sent.
const STALE: Duration = Duration::from_mins(10);

/// What was begun and has not ended.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// The namespace is being deleted.
    pub(super) going: Vec<Decision>,
    /// It lives, in the version that was to be deleted. If it is decided about in the same way, that is the same decision
    /// once more; else its end is told when it is stale.
    living: Vec<Row>,
}

enum Found {
    Ended,
    Going(Decision),
    Living(Row),
}

impl Sweep<'_> {
    /// Brings open intentions to their end, as far as it has come.
    pub(super) async fn repair(&self, state: &State) -> Result<Begun, SweepError> {
        let mut begun = Begun::default();
        let Some(store) = self.store else { return Ok(begun) };
        let open = store.open_intentions().await?;
        if open.is_empty() {
            return Ok(begun);
        }
        self.progress.phase("ending what an earlier sweep has begun", open.len());
        let found: Vec<_> = futures::stream::iter(open)
            .map(|row| self.look_at(state, row))
            .buffer_unordered(MAX_CONCURRENT)
            .try_collect()
            .await?;
        for found in found {
            match found {
                Found::Ended => {}
                Found::Going(decision) => begun.going.push(decision),
                Found::Living(row) => begun.living.push(row),
            }
        }
        Ok(begun)
    }

    async fn look_at(&self, state: &State, row: Row) -> Result<Found, SweepError> {
        self.progress.step();
        let Some(decision) = Decision::of_row(&row) else { return Ok(Found::Ended) };
        let intended = &decision.candidate;
        let fresh = self.cluster.fresh(&intended.name).await?.filter(|fresh| fresh.uid == intended.uid);
        match fresh {
            None => {
                self.append(self.audit_events.cleaned(&decision, self.clock.now())).await?;
                state.note(&intended.name, &intended.uid, Outcome::Deleted);
                Ok(Found::Ended)
            }
            Some(fresh) if fresh.terminating_since.is_some() => Ok(Found::Going(decision)),
            Some(fresh) if fresh.resource_version == intended.resource_version => Ok(Found::Living(row)),
            // Whoever still sends the deletion sends it in vain.
            Some(_) => {
                self.append(self.audit_events.given_up(&decision, CHANGED, self.clock.now())).await?;
                Ok(Found::Ended)
            }
        }
    }

    /// Tells the end of what lives on although it was intended long ago: this sweep has decided otherwise.
    pub(super) async fn give_up_what_is_stale(&self, begun: &Begun) -> Result<(), SweepError> {
        let Some(store) = self.store.filter(|_| !begun.living.is_empty()) else { return Ok(()) };
        let now = self.clock.now();
        let open: BTreeSet<_> = store.open_intentions().await?.iter().map(|row| row.id).collect();
        let stale = SignedDuration::try_from(STALE).unwrap_or(SignedDuration::MAX);
        let is_stale =
            |row: &&Row| now.duration_since(row.event.created_at) > stale && open.contains(&row.id);
        for decision in begun.living.iter().filter(is_stale).filter_map(Decision::of_row) {
            self.append(self.audit_events.given_up(&decision, INTERRUPTED, now)).await?;
        }
        Ok(())
    }
}
