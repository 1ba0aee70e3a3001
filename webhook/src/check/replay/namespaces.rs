//! The namespaces as the log shows them, as a source of facts for the engine.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::quota::Scope;
use k8s_openapi::api::core::v1::Namespace;
use tokio::sync::watch;

use crate::baseline::meta::{MetaExt as _, managed};
use crate::engine::{Lookup, LookupError};
use crate::namespaces::Index;
use crate::rules::{Holders, ManagedNamespace};

/// The namespaces at the time of the current event.
#[derive(Debug, Clone, Default)]
pub(super) struct LogNamespaces(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    managed: Index,
    /// Namespaces that are not managed although their names are those of run namespaces.
    others: BTreeSet<String>,
}

impl LogNamespaces {
    /// Stores a namespace as the log shows it, and removes one that is gone.
    pub(super) fn apply(&self, policy: &RunPolicy, namespace: &Namespace) {
        let meta = &namespace.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        self.remove(name);
        let is_empty = |finalizers: Option<&Vec<String>>| finalizers.is_none_or(Vec::is_empty);
        let spec = namespace.spec.as_ref();
        let is_gone = meta.deletion_timestamp.is_some()
            && is_empty(meta.finalizers.as_ref())
            && is_empty(spec.and_then(|spec| spec.finalizers.as_ref()));
        if is_gone {
            return;
        }
        if meta.is_managed() {
            self.write().managed.insert(Arc::new(managed(meta)));
        } else if policy.namespaces.is_of_a_run(name) {
            self.write().others.insert(name.to_owned());
        }
    }

    /// Removes a namespace that is gone, or that has changed in an unknown way.
    pub(super) fn remove(&self, name: &str) {
        let mut known = self.write();
        known.managed.remove(name);
        known.others.remove(name);
    }

    /// Returns true if it is known whether a namespace is managed: the log has shown it, or its name cannot be that of
    /// a run namespace.
    pub(super) fn is_certain(&self, policy: &RunPolicy, name: &str) -> bool {
        let namespaces = &policy.namespaces;
        !namespaces.is_of_a_run(name) || namespaces.is_protected(name) || {
            let known = self.read();
            known.others.contains(name) || known.managed.get(name).is_some()
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup for LogNamespaces {
    async fn get(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        Ok(self.cached(name))
    }

    async fn get_fresh(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        Ok(self.cached(name))
    }

    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>> {
        self.read().managed.holders(run_id)
    }

    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        self.read().managed.holders_in(scope, but, max)
    }

    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>> {
        self.read().managed.get(name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        // Nothing changes while an event is evaluated, so nothing waits.
        watch::channel(0).1
    }
}
