//! The places as they are stored: Leases in our own namespace, and what this process knows of them.
//!
//! There is one ledger for the places of namespaces and of agent Jobs. The planner decides for both; here its steps
//! are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_k8s_shared::home::{LIMITED_JOBS_LEASE, PART_OF};
use codex_k8s_shared::places::Scope;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::leases::{KEPT, lease, number, place};
use super::metrics::Metrics;
use super::places::{Candidate, Held, Holder, Id, Place, Step, plan, turn};
use crate::registration::FIELD_MANAGER;

/// The places, and who waits for one.
#[derive(Debug)]
pub struct Ledger {
    leases: Api<Lease>,
    dry_run: bool,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) held: Held,
    /// Those without a place: namespaces before Jobs, and the oldest of each first.
    waiting: BTreeMap<Turn, Candidate>,
    /// Whether agent Jobs are, or were, held back.
    marked: bool,
}

type Turn = (bool, Timestamp, Holder);

fn key(who: &Candidate) -> Turn {
    (who.holder.is_job(), who.created, who.holder.clone())
}

impl Book {
    fn next(&mut self, who: &Candidate) -> Step {
        let key = key(who);
        let first = (key.0, Timestamp::MIN, Holder::Namespace(String::new()));
        let step = plan(&self.held, who, self.waiting.range(first..key).map(|(_, other)| other));
        if let Step::Take(id) = &step {
            // So that nobody else in this process takes the same number.
            self.held.insert(being_created(id, who));
        }
        step
    }

    /// Those of a kind that wait, the oldest first.
    pub(super) fn waiting(&self, jobs: bool) -> impl Iterator<Item = &Candidate> {
        self.waiting.iter().filter(move |(turn, _)| turn.0 == jobs).map(|(_, who)| who)
    }

    /// Keeps those of a kind that pass among those that wait.
    pub(super) fn retain_waiting(&mut self, jobs: bool, passes: impl Fn(&Candidate) -> bool) {
        self.waiting.retain(|turn, who| turn.0 != jobs || passes(who));
    }

    /// Has it wait, in the order of age.
    pub(super) fn wait(&mut self, who: Candidate) {
        self.waiting.insert(key(&who), who);
    }

    /// The stored places of a holder.
    fn stored_of(&self, uid: &str) -> Vec<Place> {
        self.held.of_holder(uid).filter(|place| place.stored.is_some()).cloned().collect()
    }
}

fn being_created(id: &Id, who: &Candidate) -> Place {
    Place { id: id.clone(), holder: who.holder.clone(), uid: who.uid.clone(), stored: None, kept: who.open }
}

/// Where there is no place: the scope, and how many there are.
pub type Full = (Scope, u32);

impl Ledger {
    /// The places in a namespace, of which nothing is known yet. With `dry_run` nothing is written.
    pub fn new(client: Client, namespace: &str, dry_run: bool, metrics: Arc<Metrics>) -> Self {
        Self { leases: Api::namespaced(client, namespace), dry_run, metrics, book: Mutex::default() }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all that is known: others may have changed it since.
    pub fn forget(&self) {
        *self.book() = Book::default();
    }

    /// Whether agent Jobs are, or were, held back, as of the last reading.
    pub fn is_marked(&self) -> bool {
        self.book().marked
    }

    /// The namespaces whose turn it is.
    pub fn turn(&self) -> BTreeSet<Holder> {
        let book = self.book();
        turn(&book.held, book.waiting(false))
    }

    /// Shows how many places are held, and how many wait.
    pub fn show(&self) {
        let book = self.book();
        let kinds = book.held.iter().map(|place| place.id.kind());
        self.metrics.places(kinds, book.waiting(false).count(), book.waiting(true).count());
    }

    /// Nobody needs to wait any more for one of this age; whether it waited.
    pub fn step_aside(&self, holder: Holder, created: Timestamp) -> bool {
        self.book().waiting.remove(&(holder.is_job(), created, holder)).is_some()
    }

    /// Gives a candidate its places, or says where there is none for it; it waits then.
    ///
    /// # Errors
    /// If the API server does not answer; what was taken by then is found again when it is asked for again.
    pub async fn place(&self, who: &Candidate) -> kube::Result<Result<(), Full>> {
        loop {
            let step = self.book().next(who);
            match step {
                Step::Holds => {
                    self.step_aside(who.holder.clone(), who.created);
                    return Ok(Ok(()));
                }
                Step::Refused { scope, max } => {
                    self.book().wait(who.clone());
                    return Ok(Err((scope, max)));
                }
                Step::Take(id) => self.take(who, &id).await?,
                Step::Keep(place) => self.keep(place).await?,
                Step::Drop(place) => drop(self.delete(&place).await?),
            }
        }
    }

    async fn take(&self, who: &Candidate, id: &Id) -> kube::Result<()> {
        if self.dry_run {
            self.book().held.insert(Place { kept: true, ..being_created(id, who) });
            return Ok(());
        }
        let created = self.leases.create(&creating(), &lease(id, who)).await;
        self.book().held.remove(id);
        match created {
            Ok(created) => self.note(&created),
            // Somebody was quicker, or this process itself once.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read_again(id).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn keep(&self, place: Place) -> kube::Result<()> {
        if self.dry_run {
            self.book().held.insert(Place { kept: true, ..place });
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
        if !self.dry_run {
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
        self.book().held.remove(&place.id);
        Ok(true)
    }

    /// Deletes the places of a holder that has none any more, and returns how many. Nobody waits for it either.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn release(&self, uid: &str) -> kube::Result<usize> {
        let places = {
            let mut book = self.book();
            book.waiting.retain(|_, who| who.uid != uid);
            book.stored_of(uid)
        };
        let mut released = 0;
        for place in &places {
            if self.delete(place).await? {
                released += 1;
                self.metrics.released(place.id.kind());
            }
        }
        Ok(released)
    }

    async fn read_again(&self, id: &Id) -> kube::Result<()> {
        let found = self.leases.get_opt(&id.to_string()).await?;
        self.book().held.remove(id);
        if let Some(found) = found {
            self.note(&found);
        }
        Ok(())
    }

    fn note(&self, lease: &Lease) {
        if let Some(place) = place(lease) {
            self.book().held.insert(place);
        }
    }

    /// Reads all places that are stored, in place of what was known. `false` if there is none of a namespace.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn read(&self) -> kube::Result<bool> {
        let (mut places, mut marked, mut version) = (Vec::new(), false, 0);
        // Without a selector: a Lease of a reservation's name takes its number whatever labels it has.
        let mut params = ListParams::default().limit(500);
        loop {
            let page = self.leases.list(&params).await?;
            places.extend(page.items.iter().filter_map(place));
            marked |=
                page.items.iter().any(|lease| lease.metadata.name.as_deref() == Some(LIMITED_JOBS_LEASE));
            version = page.metadata.resource_version.as_deref().map_or(version, number);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        let of_namespaces = places.iter().any(|place| !place.holder.is_job());
        let mut book = self.book();
        book.marked = marked || places.iter().any(|place| place.holder.is_job());
        book.held.merge(places, version);
        Ok(of_namespaces)
    }

    /// Stores that agent Jobs are held back, before the first one is.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn mark(&self) -> kube::Result<()> {
        let metadata = ObjectMeta {
            name: Some(LIMITED_JOBS_LEASE.to_owned()),
            labels: Some(BTreeMap::from([PART_OF.entry()])),
            ..ObjectMeta::default()
        };
        match self.leases.create(&creating(), &Lease { metadata, spec: None }).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other?),
        }
        self.book().marked = true;
        Ok(())
    }

    /// Stores that agent Jobs are not held back any more: their places go, and then the mark.
    ///
    /// # Errors
    /// If the API server does not answer; the mark is still there then.
    pub async fn unmark(&self) -> kube::Result<()> {
        let places: Vec<_> = {
            let book = self.book();
            let of_jobs = |place: &&Place| place.holder.is_job() && place.stored.is_some();
            book.held.iter().filter(of_jobs).cloned().collect()
        };
        for place in &places {
            self.delete(place).await?;
        }
        match self.leases.delete(LIMITED_JOBS_LEASE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
        self.book().marked = false;
        Ok(())
    }
}

fn creating() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) }
}
