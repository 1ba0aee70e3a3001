//! The cache of managed namespaces: a label-selected watch, and one live read for what it misses.
//!
//! A name that the cache does not have is looked up at the API server: the webhook may have been called for a
//! namespace that is younger than the watch. A look-up that fails is an error, never "not managed".

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::places::Scope;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_shared::sanitize::UNKNOWN;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::watch as watch_channel;

use crate::coalesce::Coalesce;
use crate::engine::{Lookup, LookupError};
use crate::metrics::Metrics;
use crate::rules::{Holders, ManagedNamespace};

type Found = Arc<ManagedNamespace>;

/// Live reads at a time, of different names.
const LIVE_READS: usize = 16;
/// How long a live read may take, with the waiting for it: well inside the webhook's own three seconds.
const LIVE_READ: Duration = Duration::from_secs(1);

/// Namespaces to a page of the first list: what is held of it at a time is what memory peaks at.
const PAGE: u32 = 100;

/// The managed namespaces by name, by run id, and by what the policy may limit.
#[derive(Debug, Default)]
struct Index {
    all: HashMap<Box<str>, Found>,
    by_run: HashMap<Box<str>, Vec<Found>>,
    by_project: Groups,
    by_requester: Groups,
}

/// Namespaces that are counted together. A namespace is found in its group by its name: groups may be large.
#[derive(Debug, Default)]
struct Groups(HashMap<Box<str>, HashSet<Named>>);

/// A namespace that is the same as any other of its name.
#[derive(Debug)]
struct Named(Found);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Groups {
    fn insert(&mut self, key: &str, namespace: &Found) {
        let group = match self.0.get_mut(key) {
            Some(group) => group,
            None => self.0.entry(key.into()).or_default(),
        };
        group.replace(Named(Arc::clone(namespace)));
    }

    fn remove(&mut self, key: &str, name: &str) {
        if let Some(group) = self.0.get_mut(key) {
            group.remove(name);
            if group.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn holders(&self, key: &str, but: &str, max: u32) -> Holders {
        let Some(group) = self.0.get(key) else { return Holders::default() };
        let held = group.len() - usize::from(group.contains(but));
        holders(held, group.iter().map(|named| &named.0), but, max)
    }
}

/// Whom the places of a scope are held by; who they are is looked for only where there is no place left.
fn holders<'a>(held: usize, all: impl Iterator<Item = &'a Found>, but: &str, max: u32) -> Holders {
    const SOME: usize = 3;
    if usize::try_from(max).is_ok_and(|max| held < max) {
        return Holders { held, ..Holders::default() };
    }
    // Without a lease that can be read, last.
    let end = |namespace: &Found| namespace.expires_at.unwrap_or(Timestamp::MAX);
    let mut first: Vec<&Found> = Vec::with_capacity(SOME + 1);
    for namespace in all.filter(|namespace| &*namespace.name != but) {
        let place =
            first.partition_point(|other| (end(other), &other.name) < (end(namespace), &namespace.name));
        first.insert(place, namespace);
        first.truncate(SOME);
    }
    Holders {
        held,
        next_end: first.first().and_then(|namespace| namespace.expires_at),
        some: first.iter().map(|namespace| namespace.name.clone()).collect(),
    }
}

impl Index {
    fn insert(&mut self, namespace: Found) {
        if let Some(old) = self.all.insert(namespace.name.clone(), Arc::clone(&namespace)) {
            self.forget(&old);
        }
        self.by_project.insert(told(&namespace.project_id), &namespace);
        self.by_requester.insert(requester(&namespace), &namespace);
        self.by_run.entry(namespace.run_id.clone()).or_default().push(namespace);
    }

    fn remove(&mut self, name: &str) {
        if let Some(old) = self.all.remove(name) {
            self.forget(&old);
        }
    }

    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        match scope {
            Scope::Cluster => {
                let held = self.all.len() - usize::from(self.all.contains_key(but));
                holders(held, self.all.values(), but, max)
            }
            Scope::Project(project) => self.by_project.holders(project, but, max),
            Scope::Requester(requester) => self.by_requester.holders(requester, but, max),
            // Those are Jobs, of which nothing is known here.
            Scope::AgentJobs(_) => Holders::default(),
        }
    }

    fn forget(&mut self, old: &Found) {
        self.by_project.remove(told(&old.project_id), &old.name);
        self.by_requester.remove(requester(old), &old.name);
        if let Some(holders) = self.by_run.get_mut(&old.run_id) {
            holders.retain(|holder| holder.name != old.name);
            if holders.is_empty() {
                self.by_run.remove(&old.run_id);
            }
        }
    }
}

/// As [`Scope::of`] counts what says nothing.
const fn told(value: &str) -> &str {
    if value.is_empty() { UNKNOWN } else { value }
}

fn requester(namespace: &ManagedNamespace) -> &str {
    told(namespace.requested_by.as_deref().unwrap_or_default())
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Namespaces {
    index: Arc<RwLock<Index>>,
    api: Api<Namespace>,
    live: Arc<Coalesce<Option<Found>>>,
    changes: watch_channel::Sender<u64>,
}

impl Namespaces {
    /// An empty cache over a client.
    pub fn new(client: Client) -> Self {
        Self {
            index: Arc::default(),
            api: Api::all(client),
            live: Arc::new(Coalesce::new(LIVE_READS)),
            changes: watch_channel::Sender::new(0),
        }
    }

    /// Follows the managed namespaces for ever. `synced` is called whenever a complete list is in place.
    pub async fn follow(&self, metrics: &Metrics, synced: impl Fn()) {
        let client = self.api.clone().into_client();
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
                Err(error) => tracing::warn!(error = &error as &dyn Error, "failed to watch namespaces"),
            }
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
            let count = self.index.read().unwrap_or_else(PoisonError::into_inner).all.len();
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
        self.index.read().unwrap_or_else(PoisonError::into_inner).all.get(name).cloned()
    }

    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        self.index.read().unwrap_or_else(PoisonError::into_inner).holders_in(scope, but, max)
    }

    fn holders(&self, run_id: &str) -> Vec<Found> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_run
            .get(run_id)
            .cloned()
            .unwrap_or_default()
    }
}

/// What the rules need to know of a managed namespace, and no more: ten thousand of them are kept.
pub fn managed(meta: &ObjectMeta) -> ManagedNamespace {
    let label =
        |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str);
    let annotation = |key: &str| {
        meta.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
    };
    let name = meta.name.as_deref().unwrap_or_default();
    let lease = Lease::read(annotation).ok().flatten();
    ManagedNamespace {
        name: name.into(),
        mode: RuntimeMode::parse_like_platform(label(keys::RUNTIME_MODE)),
        run_id: label(keys::RUN_ID).into(),
        project_id: label(keys::PROJECT_ID).into(),
        requested_by: annotation(keys::REQUESTED_BY).map(Into::into),
        correlation_id: annotation(keys::CORRELATION_ID).map(Into::into),
        expires_at: lease.map(|lease| lease.expires_at.timestamp()),
        terminating: meta.deletion_timestamp.is_some(),
        ready: annotation(keys::BASELINE_READY_AT).is_some() && annotation(keys::BASELINE_HASH).is_some(),
        waits_for: annotation(keys::BASELINE_WAITS_FOR).map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, project: &str, requester: &str, ends: i64) -> Found {
        Arc::new(ManagedNamespace {
            name: name.into(),
            mode: RuntimeMode::FullEnv,
            run_id: name.into(),
            project_id: project.into(),
            requested_by: Some(requester.into()),
            correlation_id: None,
            expires_at: Timestamp::from_second(ends).ok(),
            terminating: false,
            ready: true,
            waits_for: None,
        })
    }

    #[test]
    fn a_scope_is_counted_without_the_namespace_that_is_asked_about() {
        let mut index = Index::default();
        for (name, project, requester, ends) in [
            ("a", "p1", "jane", 40),
            ("b", "p1", "joe", 30),
            ("c", "p2", "jane", 20),
            ("d", "p1", "jane", 10),
        ] {
            index.insert(namespace(name, project, requester, ends));
        }
        let [_, project, requester] = Scope::of(Some("p1"), Some("jane"));
        let held = |index: &Index, scope, but| index.holders_in(scope, but, 100).held;
        assert_eq!(held(&index, &Scope::Cluster, "x"), 4);
        assert_eq!(held(&index, &Scope::Cluster, "a"), 3);
        assert_eq!(held(&index, &project, "x"), 3);
        assert_eq!(held(&index, &project, "a"), 2);
        assert_eq!(held(&index, &requester, "b"), 3);
        let full = index.holders_in(&Scope::Cluster, "d", 3);
        assert_eq!(full.some, ["c".into(), "b".into(), "a".into()]);
        assert_eq!(full.next_end, Timestamp::from_second(20).ok());
        assert_eq!(index.holders_in(&project, "x", 4), Holders { held: 3, ..Holders::default() });
        index.insert(namespace("a", "p2", "jane", 40));
        index.remove("d");
        assert_eq!(held(&index, &project, "x"), 1);
        assert_eq!(held(&index, &requester, "x"), 2);
    }
}
