//! Completes the rows of earlier sweeps that were killed, or could not reach the store. Another sweep may also be
//! running at this moment in spite of the Lease, so nothing is written that its result could contradict.

use std::collections::BTreeSet;
use std::time::Duration;

use codex_k8s_shared::audit::{Row, Store};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::report::Outcome;
use super::{State, Sweep, SweepError};
use crate::rows::{CHANGED, Decision, INTERRUPTED};

/// The maximum number of namespaces that are read at a time.
const MAX_CONCURRENT: usize = 8;
/// No deletion takes longer than this between intention and request, so an older intention was never sent.
const STALE: Duration = Duration::from_mins(10);

/// Deletions that were started and have not ended.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// The namespaces that are terminating.
    pub(super) going: Vec<Decision>,
    /// The intentions for namespaces that are not terminating and still have the intended version. If the decision is
    /// the same again, so is its id; otherwise the intention is abandoned when it is stale.
    living: Vec<Row>,
}

enum Found {
    Ended,
    Going(Decision),
    Living(Row),
}

impl Sweep<'_> {
    /// Completes open intentions, as far as their outcomes are known.
    pub(super) async fn repair(&self, state: &State) -> Result<Begun, SweepError> {
        let mut begun = Begun::default();
        let Some(store) = self.store else { return Ok(begun) };
        let open = store.open_intentions().await?;
        if open.is_empty() {
            return Ok(begun);
        }
        self.progress.phase("ending what an earlier sweep has begun", open.len());
        let found: Vec<_> = futures::stream::iter(open)
            .map(|row| self.inspect_intention(state, row))
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

    async fn inspect_intention(&self, state: &State, row: Row) -> Result<Found, SweepError> {
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
            // If another sweep still sends the deletion, it fails because of the version.
            Some(_) => {
                self.append(self.audit_events.given_up(&decision, CHANGED, self.clock.now())).await?;
                Ok(Found::Ended)
            }
        }
    }

    /// Abandons stale intentions, because this sweep has decided otherwise.
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
