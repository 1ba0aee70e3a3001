//! Audit rows about namespaces whose baseline has become ready, and about the Jobs of runs if the policy asks for them.
//!
//! Rows are written in the background, so that a database that does not respond delays no namespace. A store has each
//! row once. Rows about namespaces that a process could not write before its end are written by the next one, or by the
//! next sweep; those about Jobs by the next one, if the Jobs still exist then.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codex_k8s_shared::audit::decision::{Origin, RunJob, prepared_id};
use codex_k8s_shared::audit::{AuditStore, Event, EventType, Filter, Store as _, StoreAddress, StoreError};
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::errors;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::Notify;

use super::cluster::Cluster;
use crate::baseline::meta::MetaExt;

/// The actor in the rows.
const ACTOR: &str = "codex-k8s-reconcile";
/// The delay after a failure of the store.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// The number of rows that are remembered. A row that was forgotten costs one lookup more.
const REMEMBERED: usize = 10_000;

/// The rows that were not written yet.
#[derive(Debug)]
pub struct AuditRows {
    store: StoreAddress,
    /// The ids of the rows that were queued.
    queued: Mutex<BTreeSet<String>>,
    rows: Mutex<VecDeque<Row>>,
    added: Notify,
}

#[derive(Debug, Clone)]
enum Row {
    /// A namespace is prepared; with the time of its creation.
    Prepared(Box<Event>, Option<Timestamp>),
    /// A Job has started or ended; with the hash of the policy.
    Job(RunJob, String),
}

/// The error of a row that was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cluster(#[from] kube::Error),
}

impl AuditRows {
    /// Creates an empty queue for a store.
    pub fn new(store: StoreAddress) -> Self {
        Self { store, queued: Mutex::default(), rows: Mutex::default(), added: Notify::new() }
    }

    /// Queues the row of a namespace, if its baseline is ready and it is not known yet.
    pub(super) fn observe(&self, policy: &RunPolicy, meta: &ObjectMeta) {
        let candidate = Candidate::from(meta);
        let ready_at = candidate.annotation(keys::BASELINE_READY_AT).and_then(|time| time.parse().ok());
        let Some(ready_at) = ready_at.filter(|_| candidate.terminating_since.is_none()) else { return };
        self.add(prepared_id(&candidate), || {
            let event = origin(policy.hash()).prepared(&candidate, ready_at);
            Row::Prepared(Box::new(event), candidate.created_at)
        });
    }

    /// Queues the row of a Job, if it is not known yet.
    pub(super) fn observe_job(&self, policy: &RunPolicy, job: RunJob) {
        self.add(job.decision_id(), || Row::Job(job, policy.hash()));
    }

    /// Queues a row, unless it is remembered. Only then the row is built, because namespaces and Jobs are observed often.
    fn add(&self, id: String, row: impl FnOnce() -> Row) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.len() >= REMEMBERED {
            queued.clear();
        }
        if queued.insert(id) {
            self.rows.lock().unwrap_or_else(PoisonError::into_inner).push_back(row());
            self.added.notify_one();
        }
    }

    /// Writes rows forever.
    pub(super) async fn run(&self, cluster: &Cluster) {
        loop {
            if let Err(error) = self.write(cluster).await {
                let error = errors::chain(&error);
                tracing::warn!(error, delay = ?RETRY_DELAY, "failed to write audit rows");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Writes rows until the store fails.
    async fn write(&self, cluster: &Cluster) -> Result<(), WriteError> {
        let store = AuditStore::open(&self.store).await?;
        loop {
            let Some(row) = self.first() else {
                self.added.notified().await;
                continue;
            };
            let event = match row {
                Row::Prepared(event, created_at) => {
                    (!is_reported(&store, &event, created_at).await?).then_some(*event)
                }
                Row::Job(job, policy_hash) => {
                    let namespace = cluster.namespace(&job.namespace).await?;
                    let managed = namespace.filter(|meta| meta.label(keys::MANAGED_BY).is_some());
                    managed.map(|meta| origin(policy_hash).job(&(&meta).into(), &job))
                }
            };
            if let Some(event) = event {
                store.append(&event).await?;
            }
            self.rows.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
    }

    fn first(&self) -> Option<Row> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }
}

fn origin(policy_hash: String) -> Origin {
    Origin { actor: ACTOR.to_owned(), policy_hash }
}

/// Returns true if there is a row about the same run in the same namespace, because the platform's worker writes such
/// rows too.
async fn is_reported(
    store: &AuditStore,
    event: &Event,
    created_at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let filter = Filter {
        namespace: Some(event.payload.namespace.clone()),
        run_id: Some(event.payload.run_id.clone()),
        correlation_id: Some(event.correlation_id.clone()),
        event_type: Some(EventType::Prepared),
        since: created_at,
        limit: Some(1),
        ..Filter::default()
    };
    Ok(!store.rows(&filter).await?.is_empty())
}
