//! The reservations of namespaces: who has one, who waits, and which are released.

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
use super::super::meta::MetaExt;
use super::super::metrics::Metrics;
use super::pending::PendingNamespace;
use super::reservations::{Candidate, Holder, Step, plan};
use super::store::ReservationStore;

/// How long a namespace waits for the reservations to be counted before it is looked at again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Namespaces that are given reservations at a time while they are counted.
const MAX_CONCURRENT: usize = 8;

/// Where a namespace stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QuotaStatus {
    /// Nobody has asked for a reservation for it.
    #[default]
    NotRequested,
    /// It has a quota reservation in every limited scope.
    Reserved,
    /// There is no reservation for it.
    Pending(PendingNamespace),
    /// Who has reservations is not known yet.
    Unknown,
}

/// The reservations of namespaces.
#[derive(Debug)]
pub struct NamespaceQuota {
    /// What is stored, and what is known of it.
    pub store: ReservationStore,
    cluster: Cluster,
    metrics: Arc<Metrics>,
    /// When the leases of the managed namespaces end, by the namespaces' uids.
    ends: Mutex<HashMap<String, Option<Timestamp>>>,
    /// The quotas under which everybody who works has been counted.
    counted: watch::Sender<Option<Quotas>>,
    next_in_queue: watch::Sender<BTreeSet<Holder>>,
}

/// A namespace as one that is to have a reservation.
pub fn candidate(quotas: &Quotas, meta: &ObjectMeta) -> Candidate {
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
    /// The reservations in a namespace, of which nothing is known yet.
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

    /// Forgets all that is known: others may have changed it since.
    pub fn reset(&self) {
        self.store.reset();
        self.ends().clear();
        self.counted.send_replace(None);
    }

    /// Those whose next_in_queue it is to be looked at, whenever there are some.
    pub fn next_in_queue(&self) -> watch::Receiver<BTreeSet<Holder>> {
        self.next_in_queue.subscribe()
    }

    /// The quotas under which everybody who works has been counted.
    pub fn counted(&self) -> watch::Receiver<Option<Quotas>> {
        self.counted.subscribe()
    }

    fn announce(&self) {
        let next_in_queue = self.store.next_in_queue();
        self.store.show();
        if !next_in_queue.is_empty() {
            self.next_in_queue.send_replace(next_in_queue);
        }
    }

    /// Gives a namespace its reservations, or says where there is none for it.
    ///
    /// # Errors
    /// If the API server does not answer; what was taken by then is found again when the namespace is looked at again.
    pub async fn admit(&self, quotas: &Quotas, meta: &ObjectMeta) -> kube::Result<QuotaStatus> {
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

    /// The namespace does not want a reservation at the moment: nobody needs to wait for it.
    pub fn dequeue(&self, meta: &ObjectMeta) {
        if self.store.dequeue(holder(meta), created(meta)) {
            self.announce();
        }
    }

    /// Notes what a watch tells of a managed namespace.
    pub fn on_apply(&self, meta: &ObjectMeta) {
        self.ends().insert(meta.uid.clone().unwrap_or_default(), end(meta));
        if meta.deletion_timestamp.is_some() {
            self.dequeue(meta);
        }
    }

    /// Releases the reservations of a namespace if it is gone, and returns how many. Gone is what the API server does not
    /// know under this name and uid as a managed namespace.
    ///
    /// # Errors
    /// If the API server does not answer: that is not "gone".
    pub async fn release(&self, name: &str, uid: &str) -> kube::Result<usize> {
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

    /// Compares all reservations with all namespaces: releases what nobody has any more, and gives reservations to those that
    /// work without, for they began before there was a limit. Until that was done once, nobody else gets a reservation.
    ///
    /// # Errors
    /// If the API server does not answer: nothing is released then that was not found to be gone.
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
        // What others have refused, this process has not heard of: in the order of age all the same.
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
                tracing::warn!(namespace = name, leaked, "released reservations that nobody had any more");
                self.metrics.leaked(leaked);
            }
        }
        Ok(())
    }
}
