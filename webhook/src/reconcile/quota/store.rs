//! The reservations as they are stored: Leases in our own namespace, and what this process knows of them.
//!
//! There is one store for the reservations of namespaces and of agent Jobs. The planner decides for both; here its steps
//! are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_k8s_shared::install::{LIMITED_JOBS_LEASE, PART_OF};
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::super::metrics::Metrics;
use super::leases::{CONFIRMED, lease, number, reservation};
use super::reservations::{Candidate, Held, Holder, Id, Reservation, Step, next_in_queue, plan};
use crate::registration::FIELD_MANAGER;

/// The reservations, and who waits for one.
#[derive(Debug)]
pub struct ReservationStore {
    leases: Api<Lease>,
    dry_run: bool,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(in crate::reconcile) struct State {
    pub(in crate::reconcile) held: Held,
    /// Those without a reservation: namespaces before Jobs, and the oldest of each first.
    waiting: BTreeMap<QueueKey, Candidate>,
    /// Whether agent Jobs are, or were, held back.
    marked: bool,
}

type QueueKey = (bool, Timestamp, Holder);

fn key(who: &Candidate) -> QueueKey {
    (who.holder.is_job(), who.created, who.holder.clone())
}

impl State {
    fn next(&mut self, who: &Candidate) -> Step {
        let key = key(who);
        let first = (key.0, Timestamp::MIN, Holder::Namespace(String::new()));
        let step = plan(&self.held, who, self.waiting.range(first..key).map(|(_, other)| other));
        if let Step::Create(id) = &step {
            // So that nobody else in this process takes the same number.
            self.held.insert(being_created(id, who));
        }
        step
    }

    /// Those of a kind that wait, the oldest first.
    pub(in crate::reconcile) fn waiting(&self, jobs: bool) -> impl Iterator<Item = &Candidate> {
        self.waiting.iter().filter(move |(next_in_queue, _)| next_in_queue.0 == jobs).map(|(_, who)| who)
    }

    /// Keeps those of a kind that pass among those that wait.
    pub(in crate::reconcile) fn retain_waiting(&mut self, jobs: bool, passes: impl Fn(&Candidate) -> bool) {
        self.waiting.retain(|next_in_queue, who| next_in_queue.0 != jobs || passes(who));
    }

    /// Has it wait, in the order of age.
    pub(in crate::reconcile) fn wait(&mut self, who: Candidate) {
        self.waiting.insert(key(&who), who);
    }

    /// The stored reservations of a holder.
    fn stored_of(&self, uid: &str) -> Vec<Reservation> {
        self.held.of_holder(uid).filter(|reservation| reservation.stored.is_some()).cloned().collect()
    }
}

fn being_created(id: &Id, who: &Candidate) -> Reservation {
    Reservation {
        id: id.clone(),
        holder: who.holder.clone(),
        uid: who.uid.clone(),
        stored: None,
        confirmed: who.open,
    }
}

/// Where there is no reservation: the scope, and how many there are.
pub type Full = (Scope, u32);

impl ReservationStore {
    /// The reservations in a namespace, of which nothing is known yet. With `dry_run` nothing is written.
    pub fn new(client: Client, namespace: &str, dry_run: bool, metrics: Arc<Metrics>) -> Self {
        Self { leases: Api::namespaced(client, namespace), dry_run, metrics, state: Mutex::default() }
    }

    pub(in crate::reconcile) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all that is known: others may have changed it since.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// Whether agent Jobs are, or were, held back, as of the last reading.
    pub fn is_marked(&self) -> bool {
        self.state().marked
    }

    /// The namespaces whose next_in_queue it is.
    pub fn next_in_queue(&self) -> BTreeSet<Holder> {
        let state = self.state();
        next_in_queue(&state.held, state.waiting(false))
    }

    /// Shows how many reservations are held, and how many wait.
    pub fn show(&self) {
        let state = self.state();
        let kinds = state.held.iter().map(|reservation| reservation.id.kind());
        self.metrics.reservations(kinds, state.waiting(false).count(), state.waiting(true).count());
    }

    /// Nobody needs to wait any more for one of this age; whether it waited.
    pub fn dequeue(&self, holder: Holder, created: Timestamp) -> bool {
        self.state().waiting.remove(&(holder.is_job(), created, holder)).is_some()
    }

    /// Gives a candidate its reservations, or says where there is none for it; it waits then.
    ///
    /// # Errors
    /// If the API server does not answer; what was taken by then is found again when it is asked for again.
    pub async fn reserve(&self, who: &Candidate) -> kube::Result<Result<(), Full>> {
        loop {
            let step = self.state().next(who);
            match step {
                Step::Done => {
                    self.dequeue(who.holder.clone(), who.created);
                    return Ok(Ok(()));
                }
                Step::Exceeded { scope, max } => {
                    self.state().wait(who.clone());
                    return Ok(Err((scope, max)));
                }
                Step::Create(id) => self.create(who, &id).await?,
                Step::Confirm(reservation) => self.confirm(reservation).await?,
                Step::Delete(reservation) => drop(self.delete(&reservation).await?),
            }
        }
    }

    async fn create(&self, who: &Candidate, id: &Id) -> kube::Result<()> {
        if self.dry_run {
            self.state().held.insert(Reservation { confirmed: true, ..being_created(id, who) });
            return Ok(());
        }
        let created = self.leases.create(&creating(), &lease(id, who)).await;
        self.state().held.remove(id);
        match created {
            Ok(created) => self.note(&created),
            // Somebody was quicker, or this process itself once.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read_again(id).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn confirm(&self, reservation: Reservation) -> kube::Result<()> {
        if self.dry_run {
            self.state().held.insert(Reservation { confirmed: true, ..reservation });
            return Ok(());
        }
        let stored = reservation.stored.as_ref();
        let patch = json!({"metadata": {
            "uid": stored.map(|stored| &stored.uid),
            "resourceVersion": stored.map(|stored| stored.version.to_string()),
            "annotations": {CONFIRMED: "true"},
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.leases.patch(&reservation.id.to_string(), &params, &Patch::Merge(patch)).await {
            Ok(confirmed) => self.note(&confirmed),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.read_again(&reservation.id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes a quota reservation in the version that is known. `false` if it is not that any more.
    async fn delete(&self, reservation: &Reservation) -> kube::Result<bool> {
        if !self.dry_run {
            let preconditions = reservation.stored.as_ref().map(|stored| Preconditions {
                uid: Some(stored.uid.clone()),
                resource_version: Some(stored.version.to_string()),
            });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match self.leases.delete(&reservation.id.to_string(), &params).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    self.read_again(&reservation.id).await?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.state().held.remove(&reservation.id);
        Ok(true)
    }

    /// Deletes the reservations of a holder that has none any more, and returns how many. Nobody waits for it either.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn release(&self, uid: &str) -> kube::Result<usize> {
        let reservations = {
            let mut state = self.state();
            state.waiting.retain(|_, who| who.uid != uid);
            state.stored_of(uid)
        };
        let mut released = 0;
        for reservation in &reservations {
            if self.delete(reservation).await? {
                released += 1;
                self.metrics.released(reservation.id.kind());
            }
        }
        Ok(released)
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
        if let Some(reservation) = reservation(lease) {
            self.state().held.insert(reservation);
        }
    }

    /// Reads all reservations that are stored, in reservation of what was known. `false` if there is none of a namespace.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn read(&self) -> kube::Result<bool> {
        let (mut reservations, mut marked, mut version) = (Vec::new(), false, 0);
        // Without a selector: a Lease of a reservation's name takes its number whatever labels it has.
        let mut params = ListParams::default().limit(500);
        loop {
            let page = self.leases.list(&params).await?;
            reservations.extend(page.items.iter().filter_map(reservation));
            marked |=
                page.items.iter().any(|lease| lease.metadata.name.as_deref() == Some(LIMITED_JOBS_LEASE));
            version = page.metadata.resource_version.as_deref().map_or(version, number);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        let of_namespaces = reservations.iter().any(|reservation| !reservation.holder.is_job());
        let mut state = self.state();
        state.marked = marked || reservations.iter().any(|reservation| reservation.holder.is_job());
        state.held.merge(reservations, version);
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
        self.state().marked = true;
        Ok(())
    }

    /// Stores that agent Jobs are not held back any more: their reservations go, and then the mark.
    ///
    /// # Errors
    /// If the API server does not answer; the mark is still there then.
    pub async fn unmark(&self) -> kube::Result<()> {
        let reservations: Vec<_> = {
            let state = self.state();
            let of_jobs =
                |reservation: &&Reservation| reservation.holder.is_job() && reservation.stored.is_some();
            state.held.iter().filter(of_jobs).cloned().collect()
        };
        for reservation in &reservations {
            self.delete(reservation).await?;
        }
        match self.leases.delete(LIMITED_JOBS_LEASE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
        self.state().marked = false;
        Ok(())
    }
}

fn creating() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) }
}
