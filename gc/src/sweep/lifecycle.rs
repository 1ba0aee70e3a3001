//! The rows about the beginning of a namespace, and about its end if another user has deleted it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codex_k8s_shared::audit::{AuditStore, Event, EventType, Filter, Payload, Row, Store};
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::keys;
use jiff::{SignedDuration, Timestamp};

use super::{Sweep, SweepError};
use crate::plan::Planned;

/// The age of the oldest row whose namespace is looked for: more than the longest life of a namespace with all
/// extensions and holds by default. It bounds the rows that each sweep reads.
const RECENT: Duration = Duration::from_hours(24 * 90);

impl Sweep<'_> {
    /// Writes rows for baselines that became live, unless they already exist, because the platform's worker writes
    /// such rows too.
    pub(super) async fn report_prepared(&self, planned: &[Planned]) -> Result<(), SweepError> {
        let Some(store) = self.store else { return Ok(()) };
        let live = |planned: &&Planned| planned.candidate.annotation(keys::BASELINE_READY_AT).is_some();
        let live: Vec<_> = planned.iter().filter(live).map(|planned| &planned.candidate).collect();
        let Some(since) = live.iter().filter_map(|candidate| candidate.created_at).min() else {
            return Ok(());
        };
        let filter =
            Filter { event_type: Some(EventType::Prepared), since: Some(since), ..Filter::default() };
        let rows = store.rows(&filter).await?;
        let reported: BTreeSet<_> =
            rows.iter().map(|row| (&*row.event.payload.namespace, &*row.event.payload.run_id)).collect();
        // A row that would be removed at once is not written.
        let oldest = self.policy.audit_store.removed_before(self.clock.now());
        for candidate in live {
            let run = candidate.label(keys::RUN_ID).unwrap_or_default();
            if !reported.contains(&(candidate.name.as_str(), run)) {
                let ready_at =
                    candidate.annotation(keys::BASELINE_READY_AT).and_then(|time| time.parse().ok());
                let ready_at = ready_at.unwrap_or_else(|| self.clock.now());
                if oldest.is_none_or(|oldest| ready_at >= oldest) {
                    self.append(self.audit_events.0.prepared(candidate, ready_at)).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes rows for namespaces that are gone although no sweep has deleted them: a person has, or the platform.
    pub(super) async fn report_deleted(&self, planned: &[Planned]) -> Result<(), SweepError> {
        let Some(store) = self.store else { return Ok(()) };
        let since = self.since();
        let listed = planned.iter().map(|planned| (&*planned.candidate.name, &planned.candidate)).collect();
        let mut gone = Vec::new();
        for row in store.open_namespaces(since).await? {
            if !self.is_there(&listed, &row.event).await? {
                gone.push(row);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let ours = self.of_sweeps(store, since).await?;
        // Several runs may have used a namespace: the last one saw its end.
        let mut reported = BTreeSet::new();
        for row in gone.iter().rev().filter(|row| !ours(row)) {
            let event = self.audit_events.0.deleted(&row.event, self.clock.now());
            if reported.insert(event.payload.decision_id.clone()) {
                self.append(event).await?;
            }
        }
        Ok(())
    }

    fn since(&self) -> Timestamp {
        let recent = SignedDuration::try_from(RECENT).unwrap_or(SignedDuration::MAX);
        self.clock.now().checked_sub(recent).unwrap_or(Timestamp::MIN)
    }

    /// Returns true if the namespace of a row exists. Rows of the platform have no uid: a namespace that is younger than
    /// the row is another one.
    async fn is_there(
        &self,
        listed: &BTreeMap<&str, &Candidate>,
        prepared: &Event,
    ) -> Result<bool, SweepError> {
        let Payload { namespace, uid, .. } = &prepared.payload;
        let is_same = |found: &Candidate| match uid {
            Some(uid) => found.uid == *uid,
            None => found.created_at.is_none_or(|created_at| created_at <= prepared.created_at),
        };
        if listed.get(namespace.as_str()).is_some_and(|found| is_same(found)) {
            return Ok(true);
        }
        // It may have been created after the list, or have lost the label by which it is listed.
        Ok(self.cluster.fresh(namespace).await?.is_some_and(|found| is_same(&found)))
    }

    /// Returns the check whether a sweep has deleted the namespace of a row, which may be running at this moment in
    /// spite of the Lease. Its intention was written before the deletion, and is either still open or has ended.
    async fn of_sweeps(
        &self,
        store: &AuditStore,
        since: Timestamp,
    ) -> Result<impl Fn(&Row) -> bool + use<>, SweepError> {
        let intentions = store.open_intentions().await?;
        let deleting: BTreeSet<_> = intentions.into_iter().filter_map(|row| row.event.payload.uid).collect();
        let open: BTreeSet<_> = store.open_namespaces(since).await?.iter().map(|row| row.id).collect();
        Ok(move |row: &Row| {
            let uid = row.event.payload.uid.as_ref();
            !open.contains(&row.id) || uid.is_some_and(|uid| deleting.contains(uid))
        })
    }
}
