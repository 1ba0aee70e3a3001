//! The places as they are stored: Leases in our own namespace, and what this process knows of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease as RunLease;
use codex_k8s_shared::places::Scope;
use codex_k8s_shared::policy::Quotas;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::metrics::Metrics;
use super::places::{Candidate, Held, Id, Place, Step, Stored, Waits, plan, turn};
use crate::registration::{FIELD_MANAGER, NAME};

/// Label of a place: the kind of its scope.
const KIND: &str = "guard.codex-k8s.dev/place";
/// Label of a place: the uid of the namespace that has it.
const NAMESPACE_UID: &str = "guard.codex-k8s.dev/namespace-uid";
/// Annotation of a place: that it is never just given back.
const KEPT: &str = "guard.codex-k8s.dev/kept";
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

/// The places, and who waits for one.
#[derive(Debug)]
pub struct Places {
    cluster: Cluster,
    leases: Api<Lease>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// The quotas under which everybody who works has been counted.
    counted: watch::Sender<Option<Quotas>>,
    turns: watch::Sender<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// Those without a place, the oldest first.
    waiting: BTreeMap<(Timestamp, String), Candidate>,
    /// When the leases of the managed namespaces end, by the namespaces' uids.
    ends: HashMap<String, Option<Timestamp>>,
}

impl State {
    fn next(&mut self, who: &Candidate) -> Step {
        let key = key(who);
        let step = plan(&self.held, who, self.waiting.range(..&key).map(|(_, other)| other));
        if let Step::Take(id) = &step {
            // So that nobody else in this process takes the same number.
            self.held.insert(being_created(id, who));
        }
        step
    }

    fn next_end(&self, scope: &Scope) -> Option<Timestamp> {
        let places = self.held.of_scope(&scope.stem()).collect::<Vec<_>>();
        places.iter().filter_map(|place| *self.ends.get(&place.uid)?).min()
    }
}

fn key(who: &Candidate) -> (Timestamp, String) {
    (who.created, who.name.clone())
}

fn being_created(id: &Id, who: &Candidate) -> Place {
    let (namespace, uid) = (who.name.clone(), who.uid.clone());
    Place { id: id.clone(), namespace, uid, stored: None, kept: who.open }
}

/// A namespace as one that is to have a place.
pub fn candidate(quotas: &Quotas, meta: &ObjectMeta) -> Candidate {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(keys::PROJECT_ID));
    let annotation = |key| meta.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let requester = annotation(keys::REQUESTED_BY).map(String::as_str);
    Candidate {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
        open: annotation(keys::BASELINE_READY_AT).is_some(),
        scopes: Scope::of(label.map(String::as_str), requester).map(|scope| {
            let max = quotas.limit(&scope);
            (scope, max)
        }),
    }
}

fn is_managed(meta: &ObjectMeta) -> bool {
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
            cluster,
            leases: Api::namespaced(client, namespace),
            metrics,
            state: Mutex::default(),
            counted: watch::Sender::new(None),
            turns: watch::Sender::new(BTreeSet::new()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all that is known: others may have changed it since.
    pub fn forget(&self) {
        *self.state() = State::default();
        self.counted.send_replace(None);
    }

    /// The names of those whose turn it is to be looked at, whenever there are some.
    pub fn turns(&self) -> watch::Receiver<BTreeSet<String>> {
        self.turns.subscribe()
    }

    fn announce(&self) {
        let state = self.state();
        let names = turn(&state.held, state.waiting.values());
        self.metrics.places(state.held.iter().map(|place| place.id.kind()), state.waiting.len());
        if !names.is_empty() {
            self.turns.send_replace(names);
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
        self.place(&who).await
    }

    /// The namespace does not want a place at the moment: nobody needs to wait for it.
    pub fn step_aside(&self, meta: &ObjectMeta) {
        let created = meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let was_there =
            self.state().waiting.remove(&(created, meta.name.clone().unwrap_or_default())).is_some();
        if was_there {
            self.announce();
        }
    }

    async fn place(&self, who: &Candidate) -> kube::Result<Standing> {
        loop {
            let step = self.state().next(who);
            match step {
                Step::Holds => {
                    let mut state = self.state();
                    state.waiting.remove(&key(who));
                    self.metrics.places(state.held.iter().map(|place| place.id.kind()), state.waiting.len());
                    return Ok(Standing::Placed);
                }
                Step::Refused { scope, max } => {
                    let mut state = self.state();
                    state.waiting.insert(key(who), who.clone());
                    let next_end = state.next_end(&scope);
                    return Ok(Standing::Waits(Waits { scope, max, next_end }));
                }
                Step::Take(id) => self.take(who, &id).await?,
                Step::Keep(place) => self.keep(place).await?,
                Step::Drop(place) => drop(self.delete(&place).await?),
            }
        }
    }

    async fn take(&self, who: &Candidate, id: &Id) -> kube::Result<()> {
        if self.cluster.is_dry_run() {
            self.state().held.insert(Place { kept: true, ..being_created(id, who) });
            return Ok(());
        }
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let created = self.leases.create(&params, &lease(id, who)).await;
        self.state().held.remove(id);
        match created {
            Ok(created) => self.note(&created),
            // Somebody was quicker, or this process itself once.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read_again(id).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn keep(&self, place: Place) -> kube::Result<()> {
        if self.cluster.is_dry_run() {
            self.state().held.insert(Place { kept: true, ..place });
            return Ok(());
        }
        let stored = place.stored.as_ref();
        let patch = json!({"metadata": {
            "uid": stored.map(|stored| &stored.uid),
            "resourceVersion": stored.map(|stored| stored.version.to_string()),
            "annotations": {KEPT: "true"},
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.leases.patch(&place.id.to_string(), &params, &Patch::Merge(patch)).await {
            Ok(kept) => self.note(&kept),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.read_again(&place.id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes a place in the version that is known. `false` if it is not that any more.
    async fn delete(&self, place: &Place) -> kube::Result<bool> {
        if !self.cluster.is_dry_run() {
            let preconditions = place.stored.as_ref().map(|stored| Preconditions {
                uid: Some(stored.uid.clone()),
                resource_version: Some(stored.version.to_string()),
            });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match self.leases.delete(&place.id.to_string(), &params).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    self.read_again(&place.id).await?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.state().held.remove(&place.id);
        Ok(true)
    }

    async fn read_again(&self, id: &Id) -> kube::Result<()> {
        let found = self.leases.get_opt(&id.to_string()).await?;
        self.state().held.remove(id);
        if let Some(found) = found {
            self.note(&found);
        }
        Ok(())
    }

    fn note(&self, lease: &Lease) {
        if let Some(place) = place(lease) {
            self.state().held.insert(place);
        }
    }

    /// Notes what a watch tells of a managed namespace.
    pub fn hear_of(&self, meta: &ObjectMeta) {
        let end = end(meta);
        self.state().ends.insert(meta.uid.clone().unwrap_or_default(), end);
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
        let found = self.cluster.namespace(name).await?;
        if found.is_some_and(|meta| meta.uid.as_deref() == Some(uid) && is_managed(&meta)) {
            return Ok(0);
        }
        let places: Vec<_> = {
            let mut state = self.state();
            state.ends.remove(uid);
            state.waiting.retain(|_, who| who.uid != uid);
            state.held.of_namespace(uid).filter(|place| place.stored.is_some()).cloned().collect()
        };
        let mut released = 0;
        for place in &places {
            if self.delete(place).await? {
                released += 1;
                self.metrics.released(place.id.kind());
            }
        }
        self.announce();
        Ok(released)
    }

    /// Compares all places with all namespaces: releases what nobody has any more, and gives places to those that
    /// work without, for they began before there was a limit. Until that was done once, nobody else gets a place.
    ///
    /// # Errors
    /// If the API server does not answer: nothing is released then that was not found to be gone.
    pub async fn settle(&self, quotas: &Quotas) -> kube::Result<()> {
        let (list, version) = self.stored().await?;
        if quotas.is_on() || !list.is_empty() {
            let namespaces = self.cluster.managed_namespaces().await?;
            self.take_over(quotas, list, version, &namespaces);
            self.release_leaked(&namespaces).await?;
            let open = namespaces.iter().map(|meta| candidate(quotas, meta)).filter(|who| who.open);
            let lacking: Vec<_> =
                open.filter(|who| plan(&self.state().held, who, std::iter::empty()) != Step::Holds).collect();
            futures::stream::iter(&lacking)
                .map(|who| self.place(who))
                .buffer_unordered(AT_A_TIME)
                .try_for_each(|_| std::future::ready(Ok(())))
                .await?;
        }
        self.metrics.limits(quotas);
        self.counted.send_replace(Some(quotas.clone()));
        self.announce();
        Ok(())
    }

    fn take_over(&self, quotas: &Quotas, list: Vec<Place>, version: u64, namespaces: &[ObjectMeta]) {
        let mut state = self.state();
        state.held.merge(list, version);
        state.ends =
            namespaces.iter().map(|meta| (meta.uid.clone().unwrap_or_default(), end(meta))).collect();
        let stays: BTreeMap<_, _> = namespaces
            .iter()
            .filter(|meta| meta.deletion_timestamp.is_none())
            .map(|meta| (meta.uid.as_deref().unwrap_or_default(), meta))
            .collect();
        state.waiting.retain(|_, who| stays.contains_key(&*who.uid));
        let wants = stays.into_values().filter(|meta| is_unplaced(meta));
        let waiting = wants.map(|meta| candidate(quotas, meta)).filter(|who| who.is_limited() && !who.open);
        // What others have refused, this process has not heard of: in the order of age all the same.
        state.waiting.extend(waiting.map(|who| (key(&who), who)));
    }

    async fn release_leaked(&self, namespaces: &[ObjectMeta]) -> kube::Result<()> {
        let alive: BTreeSet<_> = namespaces.iter().filter_map(|meta| meta.uid.as_deref()).collect();
        let suspects: BTreeSet<_> = {
            let state = self.state();
            let suspects =
                state.held.iter().filter(|place| place.stored.is_some() && !alive.contains(&*place.uid));
            suspects.map(|place| (place.namespace.clone(), place.uid.clone())).collect()
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

    /// All places that are stored, and the version as of which they are.
    async fn stored(&self) -> kube::Result<(Vec<Place>, u64)> {
        let mut places = Vec::new();
        let mut params = ListParams::default().labels(KIND).limit(500);
        loop {
            let page = self.leases.list(&params).await?;
            places.extend(page.items.iter().filter_map(place));
            let version = page.metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok((places, version.unwrap_or_default())),
            }
        }
    }
}

fn lease(id: &Id, who: &Candidate) -> Lease {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let labels =
        [label("app.kubernetes.io/part-of", NAME), label(KIND, id.kind()), label(NAMESPACE_UID, &who.uid)];
    let annotations = who.open.then(|| BTreeMap::from([label(KEPT, "true")]));
    let metadata = ObjectMeta {
        name: Some(id.to_string()),
        labels: Some(BTreeMap::from(labels)),
        annotations,
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec {
        holder_identity: Some(who.name.clone()),
        acquire_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

fn place(lease: &Lease) -> Option<Place> {
    let meta = &lease.metadata;
    let id = Id::parse(meta.name.as_deref()?)?;
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
    let uid = meta.labels.as_ref().and_then(|labels| labels.get(NAMESPACE_UID)).cloned();
    let stored = Stored {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default(),
    };
    let kept = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(KEPT));
    Some(Place {
        id,
        namespace: holder.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
        stored: Some(stored),
        kept,
    })
}
