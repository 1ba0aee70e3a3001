//! The places of namespaces: who has one, who waits, and which are released.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease as RunLease;
use codex_k8s_shared::places::Scope;
use codex_k8s_shared::policy::Quotas;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::places::{Candidate, Holder, Step, plan};
use super::waits::Waits;

/// How long a namespace waits for the places to be counted before it is looked at again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Namespaces that are given places at a time while they are counted.
const AT_A_TIME: usize = 8;

/// Where a namespace stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked for a place for it.
    #[default]
    Unasked,
    /// It has a place in every limited scope.
    Placed,
    /// There is no place for it.
    Waits(Waits),
    /// Who has places is not known yet.
    Uncounted,
}

/// The places of namespaces.
#[derive(Debug)]
pub struct Places {
    /// What is stored, and what is known of it.
    pub ledger: Ledger,
    cluster: Cluster,
    metrics: Arc<Metrics>,
    /// When the leases of the managed namespaces end, by the namespaces' uids.
    ends: Mutex<HashMap<String, Option<Timestamp>>>,
    /// The quotas under which everybody who works has been counted.
    counted: watch::Sender<Option<Quotas>>,
    turns: watch::Sender<BTreeSet<Holder>>,
}

/// A namespace as one that is to have a place.
pub fn candidate(quotas: &Quotas, meta: &ObjectMeta) -> Candidate {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(keys::PROJECT_ID));
    let annotation = |key| meta.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let requester = annotation(keys::REQUESTED_BY).map(String::as_str);
    Candidate {
        holder: holder(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        created: created(meta),
        open: annotation(keys::BASELINE_READY_AT).is_some(),
        scopes: Scope::of(label.map(String::as_str), requester)
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

pub(super) fn is_managed(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::MANAGED_BY))
}

fn end(meta: &ObjectMeta) -> Option<Timestamp> {
    let annotation = |key: &str| meta.annotations.as_ref()?.get(key).map(String::as_str);
    RunLease::read(annotation).ok().flatten().map(|lease| lease.expires_at.timestamp())
}

/// Whether it was told that there is no place for it, and none was found since.
pub fn is_unplaced(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::UNPLACED_SINCE))
}

impl Places {
    /// The places in a namespace, of which nothing is known yet.
    pub fn new(client: Client, namespace: &str, cluster: Cluster, metrics: Arc<Metrics>) -> Self {
        Self {
            ledger: Ledger::new(client, namespace, cluster.is_dry_run(), Arc::clone(&metrics)),
            cluster,
            metrics,
            ends: Mutex::default(),
            counted: watch::Sender::new(None),
            turns: watch::Sender::new(BTreeSet::new()),
        }
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<String, Option<Timestamp>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all that is known: others may have changed it since.
    pub fn forget(&self) {
        self.ledger.forget();
        self.ends().clear();
        self.counted.send_replace(None);
    }

    /// Those whose turn it is to be looked at, whenever there are some.
    pub fn turns(&self) -> watch::Receiver<BTreeSet<Holder>> {
        self.turns.subscribe()
    }

    /// The quotas under which everybody who works has been counted.
    pub fn counted(&self) -> watch::Receiver<Option<Quotas>> {
        self.counted.subscribe()
    }

    fn announce(&self) {
        let turn = self.ledger.turn();
        self.ledger.show();
        if !turn.is_empty() {
            self.turns.send_replace(turn);
        }
    }

    /// Gives a namespace its places, or says where there is none for it.
    ///
    /// # Errors
    /// If the API server does not answer; what was taken by then is found again when the namespace is looked at again.
    pub async fn stand(&self, quotas: &Quotas, meta: &ObjectMeta) -> kube::Result<Standing> {
        let who = candidate(quotas, meta);
        if !who.is_limited() {
            self.step_aside(meta);
            return Ok(Standing::Placed);
        }
        let mut counted = self.counted.subscribe();
        let ready = counted.wait_for(|counted| counted.as_ref() == Some(quotas));
        if !matches!(tokio::time::timeout(PATIENCE, ready).await, Ok(Ok(_))) {
            return Ok(Standing::Uncounted);
        }
        Ok(match self.ledger.place(&who).await? {
            Ok(()) => {
                self.ledger.show();
                Standing::Placed
            }
            Err((scope, max)) => {
                let next_end = self.next_end(&scope);
                Standing::Waits(Waits { scope, max, next_end })
            }
        })
    }

    fn next_end(&self, scope: &Scope) -> Option<Timestamp> {
        let (book, ends) = (self.ledger.book(), self.ends());
        book.held.of_scope(&scope.stem()).filter_map(|place| *ends.get(&place.uid)?).min()
    }

    /// The namespace does not want a place at the moment: nobody needs to wait for it.
    pub fn step_aside(&self, meta: &ObjectMeta) {
        if self.ledger.step_aside(holder(meta), created(meta)) {
            self.announce();
        }
    }

    /// Notes what a watch tells of a managed namespace.
    pub fn hear_of(&self, meta: &ObjectMeta) {
        self.ends().insert(meta.uid.clone().unwrap_or_default(), end(meta));
        if meta.deletion_timestamp.is_some() {
            self.step_aside(meta);
        }
    }

    /// Releases the places of a namespace if it is gone, and returns how many. Gone is what the API server does not
    /// know under this name and uid as a managed namespace.
    ///
    /// # Errors
    /// If the API server does not answer: that is not "gone".
    pub async fn release(&self, name: &str, uid: &str) -> kube::Result<usize> {
        let can_exist = Holder::Namespace(name.to_owned()).can_exist();
        let found = if can_exist { self.cluster.namespace(name).await? } else { None };
        if found.is_some_and(|meta| meta.uid.as_deref() == Some(uid) && is_managed(&meta)) {
            return Ok(0);
        }
        self.ends().remove(uid);
        let released = self.ledger.release(uid).await?;
        self.announce();
        Ok(released)
    }

    /// Compares all places with all namespaces: releases what nobody has any more, and gives places to those that
    /// work without, for they began before there was a limit. Until that was done once, nobody else gets a place.
    ///
    /// # Errors
    /// If the API server does not answer: nothing is released then that was not found to be gone.
    pub async fn settle(&self, quotas: &Quotas) -> kube::Result<()> {
        let some_are_held = self.ledger.read().await?;
        if quotas.is_on() || some_are_held {
            let namespaces = self.cluster.managed_namespaces().await?;
            self.take_over(quotas, &namespaces);
            self.release_leaked(&namespaces).await?;
            let open = namespaces.iter().map(|meta| candidate(quotas, meta)).filter(|who| who.open);
            let holds =
                |who: &Candidate| plan(&self.ledger.book().held, who, std::iter::empty()) == Step::Holds;
            let lacking: Vec<_> = open.filter(|who| !holds(who)).collect();
            futures::stream::iter(&lacking)
                .map(|who| self.ledger.place(who))
                .buffer_unordered(AT_A_TIME)
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
        let mut book = self.ledger.book();
        book.retain_waiting(false, |who| stays.contains_key(&*who.uid));
        let wants = stays.into_values().filter(|meta| is_unplaced(meta));
        let waiting = wants.map(|meta| candidate(quotas, meta)).filter(|who| who.is_limited() && !who.open);
        // What others have refused, this process has not heard of: in the order of age all the same.
        waiting.for_each(|who| book.wait(who));
    }

    async fn release_leaked(&self, namespaces: &[ObjectMeta]) -> kube::Result<()> {
        let alive: BTreeSet<_> = namespaces.iter().filter_map(|meta| meta.uid.as_deref()).collect();
        let suspects: BTreeSet<_> = {
            let book = self.ledger.book();
            let of_namespaces = book.held.iter().filter_map(|place| match &place.holder {
                Holder::Namespace(name) if place.stored.is_some() => Some((name.clone(), place.uid.clone())),
                _ => None,
            });
            of_namespaces.filter(|(_, uid)| !alive.contains(&**uid)).collect()
        };
        for (name, uid) in suspects {
            let leaked = self.release(&name, &uid).await?;
            if leaked > 0 {
                tracing::warn!(namespace = name, leaked, "released places that nobody had any more");
                self.metrics.leaked(leaked);
            }
        }
        Ok(())
    }
}
