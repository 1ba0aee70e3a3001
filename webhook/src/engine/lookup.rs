//! Where facts about managed namespaces come from.

use std::future::Future;
use std::sync::Arc;

use codex_k8s_shared::quota::Scope;
use tokio::sync::watch;

use crate::rules::{Holders, ManagedNamespace};

/// Where facts about managed namespaces come from.
pub trait Lookup: Send + Sync + 'static {
    /// The managed namespace of a name; `None` if it is certain that there is none.
    fn get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// As [`get`](Self::get), but never from a cache.
    fn get_fresh(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// The managed namespaces that carry a run id.
    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>>;

    /// The managed namespaces of a scope other than `but`. Who they are is told only where `max` or more of them are
    /// known.
    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders;

    /// As [`get`](Self::get), but from the cache alone.
    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>>;

    /// Changes whenever the cache does.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Whether a namespace is known to be managed. Never asks the API server.
    fn is_known(&self, name: &str) -> bool {
        self.cached(name).is_some()
    }
}

/// A fact that could not be had. Never "not managed".
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The API server did not answer, or with an error.
    #[error("failed to read namespace {name}")]
    Failed {
        /// The namespace.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Too many look-ups are under way, or one took too long.
    #[error("failed to read namespace {name} in time")]
    Busy {
        /// The namespace.
        name: String,
    },
}
