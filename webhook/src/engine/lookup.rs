//! The source of facts about managed namespaces.

use std::future::Future;
use std::sync::Arc;

use codex_k8s_shared::quota::Scope;
use tokio::sync::watch;

use crate::rules::{Holders, ManagedNamespace};

/// A source of facts about managed namespaces.
pub trait Lookup: Send + Sync + 'static {
    /// Returns the managed namespace with a name; `None` only if there is certainly none.
    fn get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// Returns the same as [`get`](Self::get), but never from a cache.
    fn get_fresh(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// Returns the managed namespaces that have a run id.
    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>>;

    /// Counts the managed namespaces of a scope other than `but`. Their names are returned only if there are at least
    /// `max`.
    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders;

    /// Returns the same as [`get`](Self::get), but only from the cache.
    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>>;

    /// Returns a receiver that changes whenever the cache changes.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Returns true if a namespace is known to be managed. Never reads from the API server.
    fn is_known(&self, name: &str) -> bool {
        self.cached(name).is_some()
    }
}

/// An unavailable fact. It never means "not managed".
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The API server did not answer, or answered with an error.
    #[error("failed to read namespace {name}")]
    Failed {
        /// The namespace.
        name: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Too many reads are in progress, or one took too long.
    #[error("failed to read namespace {name} in time")]
    Busy {
        /// The namespace.
        name: String,
    },
}
