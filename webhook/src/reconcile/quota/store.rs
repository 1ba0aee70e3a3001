//! The store of reservations: Leases in the install namespace, and a cache of them.
//!
//! One store holds the reservations of namespaces and of agent Jobs. The planner decides for both; the store carries
//! out its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_k8s_shared::install::{LIMITED_JOBS_LEASE, PART_OF};
use codex_k8s_shared::paged;
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
use codex_k8s_shared::install::FIELD_MANAGER;

/// The reservations and the queue of pending candidates.
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
    /// The queue of pending candidates: namespaces before Jobs, and the oldest of each first.
    waiting: BTreeMap<QueueKey, Candidate>,
    /// True if agent Jobs are limited, or were and may still be pending.
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
            // No other task of this process must take the same number.
            self.held.insert(being_created(id, who));
        }
        step
    }

    /// Returns the pending candidates of a kind, oldest first.
    pub(in crate::reconcile) fn waiting(&self, jobs: bool) -> impl Iterator<Item = &Candidate> {
        self.waiting.iter().filter(move |(key, _)| key.0 == jobs).map(|(_, who)| who)
    }

    /// Keeps only those pending candidates of a kind that pass.
    pub(in crate::reconcile) fn retain_waiting(&mut self, jobs: bool, passes: impl Fn(&Candidate) -> bool) {
        self.waiting.retain(|key, who| key.0 != jobs || passes(who));
    }

    /// Adds a candidate to the queue, by age.
    pub(in crate::reconcile) fn wait(&mut self, who: Candidate) {
        self.waiting.insert(key(&who), who);
    }

    /// Returns the stored reservations of a holder.
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

/// A scope that is full, and its limit.
pub(crate) type Full = (Scope, u32);

impl ReservationStore {
    /// Creates a store with an empty cache of the reservations in a namespace. With `dry_run`, nothing is written.
    pub(crate) fn new(client: Client, namespace: &str, dry_run: bool, metrics: Arc<Metrics>) -> Self {
        Self { leases: Api::namespaced(client, namespace), dry_run, metrics, state: Mutex::default() }
    }

    pub(in crate::reconcile) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the cache, because other processes may have changed the reservations.
    pub(crate) fn reset(&self) {
        *self.state() = State::default();
    }

    /// True if agent Jobs are limited, or were and may still be pending, as of the last read.
    pub(crate) fn is_marked(&self) -> bool {
        self.state().marked
    }

    /// Returns the namespaces that are next in the queue.
    pub(crate) fn next_in_queue(&self) -> BTreeSet<Holder> {
        let state = self.state();
        next_in_queue(&state.held, state.waiting(false))
    }

    /// Updates the metrics of held reservations and pending candidates.
    pub(crate) fn show(&self) {
        let state = self.state();
        let kinds = state.held.iter().map(|reservation| reservation.id.kind());
        self.metrics.reservations(kinds, state.waiting(false).count(), state.waiting(true).count());
    }

    /// Removes a candidate from the queue. Returns true if it was queued.
    pub(crate) fn dequeue(&self, holder: Holder, created: Timestamp) -> bool {
        self.state().waiting.remove(&(holder.is_job(), created, holder)).is_some()
    }

    /// Creates the reservations of a candidate, or queues it and returns the scope that is full.
    ///
    /// # Errors
    /// Returns an error if a request fails. Reservations that were created by then are found by the next call.
    pub(crate) async fn reserve(&self, who: &Candidate) -> kube::Result<Result<(), Full>> {
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
            // Another process was faster, or an earlier attempt of this one succeeded.
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.read_again(id).await?,
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
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.read_again(&reservation.id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes a reservation. Returns `false` if it has another version than the cached one.
    async fn delete(&self, reservation: &Reservation) -> kube::Result<bool> {
        if !self.dry_run {
            let preconditions = reservation.stored.as_ref().map(|stored| Preconditions {
                uid: Some(stored.uid.clone()),
                resource_version: Some(stored.version.to_string()),
            });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match self.leases.delete(&reservation.id.to_string(), &params).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    self.read_again(&reservation.id).await?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.state().held.remove(&reservation.id);
        Ok(true)
    }

    /// Deletes the reservations of a holder that is gone or has ended, removes it from the queue, and returns the
    /// number of deleted reservations.
    ///
    /// # Errors
    /// Returns an error if a request fails.
    pub(crate) async fn release(&self, uid: &str) -> kube::Result<usize> {
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

    /// Replaces the cache with all stored reservations. Returns `false` if none of them belongs to a namespace.
    ///
    /// # Errors
    /// Returns an error if a request fails.
    pub(crate) async fn read(&self) -> kube::Result<bool> {
        // Without a selector, because a Lease with the name of a reservation takes its number even without the labels.
        let page = async |params: &ListParams| self.leases.list(params).await;
        let (leases, version) = paged::versioned(&ListParams::default(), page).await?;
        let reservations: Vec<_> = leases.iter().filter_map(reservation).collect();
        let marked = leases.iter().any(|lease| lease.metadata.name.as_deref() == Some(LIMITED_JOBS_LEASE));
        let version = version.as_deref().map_or(0, number);
        let of_namespaces = reservations.iter().any(|reservation| !reservation.holder.is_job());
        let mut state = self.state();
        state.marked = marked || reservations.iter().any(|reservation| reservation.holder.is_job());
        state.held.merge(reservations, version);
        Ok(of_namespaces)
    }

    /// Stores a mark that agent Jobs are limited, before the first one is held back.
    ///
    /// # Errors
    /// Returns an error if a request fails.
    pub(crate) async fn mark(&self) -> kube::Result<()> {
        let metadata = ObjectMeta {
            name: Some(LIMITED_JOBS_LEASE.to_owned()),
            labels: Some(BTreeMap::from([PART_OF.entry()])),
            ..ObjectMeta::default()
        };
        match self.leases.create(&creating(), &Lease { metadata, spec: None }).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => drop(other?),
        }
        self.state().marked = true;
        Ok(())
    }

    /// Deletes the reservations of agent Jobs, and then the mark that they are limited.
    ///
    /// # Errors
    /// Returns an error if a request fails. The mark still exists then.
    pub(crate) async fn unmark(&self) -> kube::Result<()> {
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
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other?),
        }
        self.state().marked = false;
        Ok(())
    }
}

fn creating() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) }
}
