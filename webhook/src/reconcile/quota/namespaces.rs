//! The reservations of namespaces: admission, the queue of pending namespaces, and the release.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::Scope;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use tokio::sync::watch;

use super::super::cluster::Cluster;
use super::super::metrics::Metrics;
use super::pending::PendingNamespace;
use super::reservations::{Candidate, Holder, Step, plan};
use super::store::ReservationStore;
use crate::baseline::meta::MetaExt;

/// The timeout for the reservations to be counted, after which a namespace is reconciled again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of namespaces that get reservations concurrently during the count.
const MAX_CONCURRENT: usize = 8;

/// The quota status of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QuotaStatus {
    /// No reservation was requested.
    #[default]
    NotRequested,
    /// The namespace has a reservation in every limited scope.
    Reserved,
    /// A scope is full.
    Pending(PendingNamespace),
    /// The reservations are not counted yet.
    Unknown,
}

/// The reservations of namespaces.
#[derive(Debug)]
pub struct NamespaceQuota {
    /// The stored reservations and their cache.
    pub store: ReservationStore,
    cluster: Cluster,
    metrics: Arc<Metrics>,
    /// The ends of the leases of the managed namespaces, by uid.
    ends: Mutex<HashMap<String, Option<Timestamp>>>,
    /// The quotas for which all open namespaces have been counted.
    counted: watch::Sender<Option<Quotas>>,
    next_in_queue: watch::Sender<BTreeSet<Holder>>,
}

/// Returns a namespace as a candidate for a reservation.
pub(crate) fn candidate(quotas: &Quotas, meta: &ObjectMeta) -> Candidate {
    Candidate {
        holder: holder(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        created: created(meta),
        open: meta.annotation(keys::BASELINE_READY_AT).is_some(),
        scopes: Scope::of(meta.label(keys::PROJECT_ID), meta.annotation(keys::REQUESTED_BY))
            .into_iter()
            .map(|scope| {
                let max = quotas.limit(&scope);
                (scope, max)
            })
            .collect(),
    }
}

fn holder(meta: &ObjectMeta) -> Holder {
    Holder::Namespace(meta.name.clone().unwrap_or_default())
}

fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)
}

fn end(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.lease().map(|lease| lease.expires_at.timestamp())
}

impl NamespaceQuota {
    /// Creates the quota with an empty cache of the reservations in the install namespace.
    pub fn new(client: Client, namespace: &str, cluster: Cluster, metrics: Arc<Metrics>) -> Self {
        Self {
            store: ReservationStore::new(client, namespace, cluster.is_dry_run(), Arc::clone(&metrics)),
            cluster,
            metrics,
            ends: Mutex::default(),
            counted: watch::Sender::new(None),
            next_in_queue: watch::Sender::new(BTreeSet::new()),
        }
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<String, Option<Timestamp>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the cache, because other processes may have changed the reservations.
    pub(crate) fn reset(&self) {
        self.store.reset();
        self.ends().clear();
        self.counted.send_replace(None);
    }

    /// Returns a receiver of the namespaces that are next in the queue.
    pub(crate) fn next_in_queue(&self) -> watch::Receiver<BTreeSet<Holder>> {
        self.next_in_queue.subscribe()
    }

    /// Returns a receiver of the quotas for which all open namespaces have been counted.
    pub(crate) fn counted(&self) -> watch::Receiver<Option<Quotas>> {
        self.counted.subscribe()
    }

    fn announce(&self) {
        let next_in_queue = self.store.next_in_queue();
        self.store.show();
        if !next_in_queue.is_empty() {
            self.next_in_queue.send_replace(next_in_queue);
        }
    }

    /// Reserves the quota of a namespace, or returns the scope that is full.
    ///
    /// # Errors
    /// Returns an error if a request fails. Reservations that were created by then are found by the next
    /// reconciliation.
    pub(crate) async fn admit(&self, quotas: &Quotas, meta: &ObjectMeta) -> kube::Result<QuotaStatus> {
        let who = candidate(quotas, meta);
        if !who.is_limited() {
            self.dequeue(meta);
            return Ok(QuotaStatus::Reserved);
        }
        let mut counted = self.counted.subscribe();
        let ready = counted.wait_for(|counted| counted.as_ref() == Some(quotas));
        if !matches!(tokio::time::timeout(TIMEOUT, ready).await, Ok(Ok(_))) {
            return Ok(QuotaStatus::Unknown);
        }
        Ok(match self.store.reserve(&who).await? {
            Ok(()) => {
                self.store.show();
                QuotaStatus::Reserved
            }
            Err((scope, max)) => {
                let next_end = self.next_end(&scope);
                QuotaStatus::Pending(PendingNamespace { scope, max, next_end })
            }
        })
    }

    fn next_end(&self, scope: &Scope) -> Option<Timestamp> {
        let (state, ends) = (self.store.state(), self.ends());
        state.held.of_scope(&scope.stem()).filter_map(|reservation| *ends.get(&reservation.uid)?).min()
    }

    /// Removes a namespace from the queue, because it does not need a reservation at the moment.
    pub(crate) fn dequeue(&self, meta: &ObjectMeta) {
        if self.store.dequeue(holder(meta), created(meta)) {
            self.announce();
        }
    }

    /// Records a managed namespace from a watch.
    pub(crate) fn on_apply(&self, meta: &ObjectMeta) {
        self.ends().insert(meta.uid.clone().unwrap_or_default(), end(meta));
        if meta.deletion_timestamp.is_some() {
            self.dequeue(meta);
        }
    }

    /// Releases the reservations of a namespace if it is gone, and returns their number. A namespace is gone if the API
    /// server has no managed namespace of this name and uid.
    ///
    /// # Errors
    /// Returns an error if a request fails, which does not mean that the namespace is gone.
    pub(crate) async fn release(&self, name: &str, uid: &str) -> kube::Result<usize> {
        let can_exist = Holder::Namespace(name.to_owned()).can_exist();
        let found = if can_exist { self.cluster.namespace(name).await? } else { None };
        if found.is_some_and(|meta| meta.uid.as_deref() == Some(uid) && meta.is_managed()) {
            return Ok(0);
        }
        self.ends().remove(uid);
        let released = self.store.release(uid).await?;
        self.announce();
        Ok(released)
    }

    /// Compares all reservations with all namespaces: releases those without a holder, and creates those of open
    /// namespaces that have none because they were opened before there was a limit. Until this is done once, no other
    /// namespace gets a reservation.
    ///
    /// # Errors
    /// Returns an error if a request fails. Even then, only reservations of namespaces that are gone were released.
    pub async fn settle(&self, quotas: &Quotas) -> kube::Result<()> {
        let some_are_held = self.store.read().await?;
        if quotas.is_on() || some_are_held {
            let namespaces = self.cluster.managed_namespaces().await?;
            self.take_over(quotas, &namespaces);
            self.release_leaked(&namespaces).await?;
            let open = namespaces.iter().map(|meta| candidate(quotas, meta)).filter(|who| who.open);
            let holds =
                |who: &Candidate| plan(&self.store.state().held, who, std::iter::empty()) == Step::Done;
            let lacking: Vec<_> = open.filter(|who| !holds(who)).collect();
            futures::stream::iter(&lacking)
                .map(|who| self.store.reserve(who))
                .buffer_unordered(MAX_CONCURRENT)
                .try_for_each(|_| std::future::ready(Ok(())))
                .await?;
        }
        self.metrics.limits(quotas);
        self.counted.send_replace(Some(quotas.clone()));
        self.announce();
        Ok(())
    }

    fn take_over(&self, quotas: &Quotas, namespaces: &[ObjectMeta]) {
        *self.ends() =
            namespaces.iter().map(|meta| (meta.uid.clone().unwrap_or_default(), end(meta))).collect();
        let stays: BTreeMap<_, _> = namespaces
            .iter()
            .filter(|meta| meta.deletion_timestamp.is_none())
            .map(|meta| (meta.uid.as_deref().unwrap_or_default(), meta))
            .collect();
        let mut state = self.store.state();
        state.retain_waiting(false, |who| stays.contains_key(&*who.uid));
        let wants = stays.into_values().filter(|meta| meta.is_pending());
        let waiting = wants.map(|meta| candidate(quotas, meta)).filter(|who| who.is_limited() && !who.open);
        // This process has not seen which namespaces other processes have refused. They are queued by age all the same.
        waiting.for_each(|who| state.wait(who));
    }

    async fn release_leaked(&self, namespaces: &[ObjectMeta]) -> kube::Result<()> {
        let alive: BTreeSet<_> = namespaces.iter().filter_map(|meta| meta.uid.as_deref()).collect();
        let suspects: BTreeSet<_> = {
            let state = self.store.state();
            let of_namespaces = state.held.iter().filter_map(|reservation| match &reservation.holder {
                Holder::Namespace(name) if reservation.stored.is_some() => {
                    Some((name.clone(), reservation.uid.clone()))
                }
                _ => None,
            });
            of_namespaces.filter(|(_, uid)| !alive.contains(&**uid)).collect()
        };
        for (name, uid) in suspects {
            let leaked = self.release(&name, &uid).await?;
            if leaked > 0 {
                tracing::warn!(
                    namespace = name,
                    leaked,
                    "released leaked reservations, whose namespace is gone"
                );
                self.metrics.leaked(leaked);
            }
        }
        Ok(())
    }
}
