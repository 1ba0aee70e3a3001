//! The namespaces of a set of files, as a source of facts for the engine.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use codex_k8s_shared::keys;
use codex_k8s_shared::quota::Scope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::sync::watch;

use crate::baseline::meta::managed;
use crate::engine::{Lookup, LookupError};
use crate::namespaces::Index;
use crate::rules::{Holders, ManagedNamespace};

/// An existing namespace; `None` if it is not managed.
type There = Option<Arc<ManagedNamespace>>;

/// Namespaces from files, or from a live cluster at the time of reading. Baselines are assumed to be ready, and for
/// files, free reservations are assumed: files say nothing about either.
#[derive(Debug, Clone, Default)]
pub(crate) struct VirtualCluster {
    known: Arc<RwLock<Known>>,
    is_whole: bool,
}

#[derive(Debug, Default)]
struct Known {
    managed: Index,
    others: BTreeSet<String>,
    imagined: BTreeSet<String>,
}

impl VirtualCluster {
    /// Creates a cluster that will contain every namespace, so that reservations are counted.
    pub(crate) fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// Adds a Namespace as it would be stored.
    pub(crate) fn add(&self, namespace: &Value) {
        let meta = namespace.get("metadata").cloned().unwrap_or_default();
        // Invalid metadata has been rejected before.
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap_or_default();
        let is_managed = meta.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::MANAGED_BY));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if is_managed {
            known.managed.insert(Arc::new(ManagedNamespace { ready: true, ..managed(&meta) }));
        } else {
            let name = meta.name.unwrap_or_default();
            known.managed.remove(&name);
            known.others.insert(name);
        }
    }

    /// Returns true if there is a namespace with this name.
    pub(crate) fn is_there(&self, name: &str) -> bool {
        let known = self.known();
        known.managed.get(name).is_some() || known.others.contains(name)
    }

    /// Adds a namespace that is not in the set, as it is assumed to be.
    pub(super) fn imagine(&self, namespace: &Value, name: &str) {
        self.add(namespace);
        self.known.write().unwrap_or_else(PoisonError::into_inner).imagined.insert(name.to_owned());
    }

    /// Returns true for a namespace that is only assumed.
    pub(super) fn is_imagined(&self, name: &str) -> bool {
        self.known().imagined.contains(name)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup for VirtualCluster {
    async fn get(&self, name: &str) -> Result<There, LookupError> {
        Ok(self.cached(name))
    }

    async fn get_fresh(&self, name: &str) -> Result<There, LookupError> {
        Ok(self.cached(name))
    }

    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>> {
        self.known().managed.holders(run_id)
    }

    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        if self.is_whole { self.known().managed.holders_in(scope, but, max) } else { Holders::default() }
    }

    fn cached(&self, name: &str) -> There {
        self.known().managed.get(name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}
