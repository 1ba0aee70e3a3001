//! The cache of managed namespaces: a label-selected watch, and live reads of missing names.
//!
//! A name that is not in the cache is read from the API server, because the webhook may be called for a namespace that
//! is younger than the watch. A failed read is an error and never means "not managed".

mod activity;
mod index;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use codex_k8s_shared::errors;
use codex_k8s_shared::keys;
use codex_k8s_shared::quota::Scope;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::watch as watch_channel;

use crate::baseline::meta::managed;
use crate::coalesce::Coalesce;
use crate::engine::{Lookup, LookupError};
use crate::metrics::Metrics;
use crate::rules::{Holders, ManagedNamespace};

pub(crate) use index::Index;

type Found = Arc<ManagedNamespace>;

/// Maximum number of concurrent live reads of different names.
const LIVE_READS: usize = 16;
/// Timeout of a live read, including the wait for a permit: well within the webhook's own three seconds.
const LIVE_READ: Duration = Duration::from_secs(1);

/// Namespaces per page of the initial list: the page size decides the memory peak.
const PAGE: u32 = 100;

/// The cache.
#[derive(Debug, Clone)]
pub struct Namespaces {
    index: Arc<RwLock<Index>>,
    api: Api<Namespace>,
    live: Arc<Coalesce<Option<Found>>>,
    changes: watch_channel::Sender<u64>,
}

impl Namespaces {
    /// Creates an empty cache for a client.
    pub fn new(client: Client) -> Self {
        Self {
            index: Arc::default(),
            api: Api::all(client),
            live: Arc::new(Coalesce::new(LIVE_READS)),
            changes: watch_channel::Sender::new(0),
        }
    }

    /// Watches the managed namespaces for ever. Calls `synced` whenever a complete list has been stored.
    pub async fn follow(&self, metrics: &Arc<Metrics>, synced: impl Fn()) {
        let seen = Arc::clone(metrics);
        seen.namespace_watch_event(Timestamp::now());
        let client = activity::with_activity(self.api.clone().into_client(), move || {
            seen.namespace_watch_event(Timestamp::now());
        });
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let config = watch::Config::default().labels(keys::MANAGED_BY).page_size(PAGE);
        self.apply_all(watch::watcher(api, config).default_backoff(), metrics, synced).await;
    }

    async fn apply_all(
        &self,
        events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<Namespace>>>>,
        metrics: &Metrics,
        synced: impl Fn(),
    ) {
        let mut events = std::pin::pin!(events);
        let mut listing = Index::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing = Index::default(),
                Ok(Event::InitApply(object)) => {
                    listing.insert(Arc::new(managed(&object.metadata)));
                }
                Ok(Event::InitDone) => {
                    *self.index.write().unwrap_or_else(PoisonError::into_inner) =
                        std::mem::take(&mut listing);
                    synced();
                }
                Ok(Event::Apply(object)) => {
                    let namespace = Arc::new(managed(&object.metadata));
                    self.index.write().unwrap_or_else(PoisonError::into_inner).insert(namespace);
                }
                Ok(Event::Delete(object)) => {
                    let name = object.metadata.name.unwrap_or_default();
                    self.index.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
                }
                Err(error) => tracing::warn!(error = errors::chain(&error), "failed to watch namespaces"),
            }
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
            let count = self.index.read().unwrap_or_else(PoisonError::into_inner).len();
            metrics.namespaces.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    async fn read(&self, name: &str) -> kube::Result<Option<Found>> {
        let object = self.api.get_metadata_opt(name).await?;
        let labelled = object.filter(|object| {
            object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::MANAGED_BY))
        });
        Ok(labelled.map(|object| Arc::new(managed(&object.metadata))))
    }
}

impl Lookup for Namespaces {
    async fn get(&self, name: &str) -> Result<Option<Found>, LookupError> {
        match self.cached(name) {
            Some(found) => Ok(Some(found)),
            None => self.get_fresh(name).await,
        }
    }

    async fn get_fresh(&self, name: &str) -> Result<Option<Found>, LookupError> {
        if name.is_empty() {
            return Ok(None);
        }
        let read = self.live.get(name, async || self.read(name).await);
        let found = tokio::time::timeout(LIVE_READ, read)
            .await
            .map_err(|_| LookupError::Busy { name: name.to_owned() })?;
        found.map_err(|source| LookupError::Failed { name: name.to_owned(), source: source.into() })
    }

    fn changes(&self) -> watch_channel::Receiver<u64> {
        self.changes.subscribe()
    }

    fn cached(&self, name: &str) -> Option<Found> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).get(name)
    }

    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        self.index.read().unwrap_or_else(PoisonError::into_inner).holders_in(scope, but, max)
    }

    fn holders(&self, run_id: &str) -> Vec<Found> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).holders(run_id)
    }
}
