//! The namespaces of a set of files, as the engine looks them up.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use codex_k8s_shared::keys;
use codex_k8s_shared::places::Scope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::sync::watch;

use crate::engine::{Lookup, LookupError};
use crate::namespaces::managed;
use crate::rules::{Holders, ManagedNamespace};

/// A namespace that is there: managed, or not.
type There = Option<Arc<ManagedNamespace>>;

/// Namespaces that stand in files. Their baselines are taken to be live, and their places to be free: of both, files say
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct VirtualCluster {
    namespaces: Arc<RwLock<BTreeMap<String, There>>>,
}

impl VirtualCluster {
    /// Adds a Namespace as it would be stored.
    pub fn add(&self, namespace: &Value) {
        let meta = namespace.get("metadata").cloned().unwrap_or_default();
        // What is no metadata at all was refused before.
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap_or_default();
        let labels = meta.labels.as_ref();
        let is_managed = labels.is_some_and(|labels| labels.contains_key(keys::MANAGED_BY));
        let found = is_managed.then(|| Arc::new(ManagedNamespace { ready: true, ..managed(&meta) }));
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        namespaces.insert(meta.name.unwrap_or_default(), found);
    }

    /// Whether there is a namespace of this name.
    pub fn is_there(&self, name: &str) -> bool {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    fn find(&self, name: &str) -> There {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().flatten()
    }
}

impl Lookup for VirtualCluster {
    async fn get(&self, name: &str) -> Result<There, LookupError> {
        Ok(self.find(name))
    }

    async fn get_fresh(&self, name: &str) -> Result<There, LookupError> {
        Ok(self.find(name))
    }

    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.values().flatten().filter(|namespace| &*namespace.run_id == run_id).cloned().collect()
    }

    fn holders_in(&self, _: &Scope, _: &str, _: u32) -> Holders {
        Holders::default()
    }

    fn cached(&self, name: &str) -> There {
        self.find(name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}
