//! One sweep over all managed namespaces.
//!
//! A sweep is bounded and can be repeated: it reads everything again, deletes at most `maxDeletions` namespaces, and
//! returns a report. The steps, in order: complete the open rows of earlier sweeps; list all managed namespaces and
//! decide about them; inspect the work in those that are due; check the circuit breaker; then, for each namespace
//! that is due, the oldest first, read it again, decide again, write the intention, delete exactly the version that
//! was read, and wait until it is gone from the API server.

mod budget;
mod delete;
pub(crate) mod inspect;
mod lifecycle;
mod repair;
pub mod report;

use std::sync::{Mutex, PoisonError};

use codex_k8s_shared::audit::{AuditStore, Event, Store, StoreError};
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::runs::RunsError;
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::breaker::Trip;
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError};
use crate::fault::{self, Point};
use crate::plan::{self, Planned, Surroundings};
use crate::progress::Progress;
use crate::rows::{ALREADY_DELETED, AuditEvents, Decision};
use crate::runs::Runs;
use budget::Budget;
use inspect::inspect;
use report::{Line, Outcome, Report};

/// The maximum number of namespaces that are being deleted or waited for at a time: about as many as the namespace
/// controller drains in the ten seconds that one takes.
const IN_FLIGHT: usize = 64;

/// The error that ended a sweep early. Completed steps are in the report, and in the rows.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The API server did not return a usable response.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A row could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform's database did not return a usable response.
    #[error(transparent)]
    Runs(#[from] RunsError),
    /// Another sweep has started.
    #[error("lost the Lease to another sweep; what was begun goes on there")]
    LeaseLost,
    /// The process was told to end.
    #[error("interrupted: nothing more was deleted; the next sweep completes the deletions in progress")]
    Interrupted,
}

/// The kind of dry run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DryRun {
    /// Not a dry run.
    #[default]
    No,
    /// Nothing is sent.
    Client,
    /// Deletions are sent to the API server as dry runs.
    Server,
}

/// A sweep with all its inputs.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The audit store; `None` in a dry run, which does not write rows.
    pub store: Option<&'a AuditStore>,
    /// The source of runs.
    pub runs: &'a Runs,
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The builder of audit rows.
    pub audit_events: AuditEvents,
    /// The clock.
    pub clock: Clock,
    /// The kind of dry run.
    pub dry_run: DryRun,
    /// The number of deletions that an operator allows in this sweep.
    pub allowed: Option<u32>,
    /// The number of namespaces that were due in the last sweep.
    pub due_before: Option<u32>,
    /// The receiver of progress reports.
    pub progress: &'a dyn Progress,
    /// Cancelled when another sweep may have started: nothing is deleted after that.
    pub lost: CancellationToken,
    /// Cancelled when the process must end: no other deletion is begun, and those in progress are not awaited.
    pub stop: CancellationToken,
}

/// The state of a running sweep.
#[derive(Debug)]
struct State {
    report: Mutex<Report>,
    /// The first error that stops the whole sweep.
    stopped: Mutex<Option<SweepError>>,
    sending: Semaphore,
    budget: Budget,
}

impl State {
    fn note(&self, name: &str, uid: &str, outcome: Outcome) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).note(name, uid, outcome);
    }

    fn stop(&self, error: impl Into<SweepError>) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
    }

    fn is_stopped(&self) -> bool {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// A task that ends when a namespace is gone.
enum Task {
    Delete(Candidate),
    /// An earlier sweep has sent the deletion.
    Await(Decision),
}

impl Sweep<'_> {
    /// Runs the sweep. The report is complete up to the error, if the sweep ended early.
    pub(crate) async fn run(&self) -> (Report, Result<(), SweepError>) {
        let state = State {
            report: Mutex::new(Report::new(self.clock.now(), self.policy, self.dry_run)),
            stopped: Mutex::default(),
            sending: Semaphore::new(self.policy.cleanup.concurrency.into()),
            budget: Budget::new(self.most()),
        };
        let done = self.all(&state).await;
        let stopped = state.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut report = state.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = done.and(stopped.map_or(Ok(()), Err));
        report.end(self.clock.now(), result.is_ok());
        (report, result)
    }

    async fn all(&self, state: &State) -> Result<(), SweepError> {
        let begun = self.repair(state).await?;
        let planned = self.plan(state).await?;
        fault::point(Point::AfterList, "").await;
        self.report_prepared(&planned).await?;
        self.report_deleted(&planned).await?;
        let due = self.report(state, &planned).await?;
        if self.dry_run == DryRun::Client {
            let most = usize::try_from(self.most()).unwrap_or(usize::MAX);
            for (position, due) in due.into_iter().enumerate() {
                let outcome = if position < most { Outcome::WouldDelete } else { Outcome::Postponed };
                state.note(&due.name, &due.uid, outcome);
            }
            return Ok(());
        }
        let due = due.into_iter().cloned().map(Task::Delete);
        let tasks: Vec<_> = begun.going.iter().cloned().map(Task::Await).chain(due).collect();
        self.progress.phase("deleting", tasks.len());
        futures::stream::iter(tasks).for_each_concurrent(IN_FLIGHT, |task| self.end(state, task)).await;
        if !state.is_stopped() {
            self.give_up_what_is_stale(&begun).await?;
        }
        Ok(())
    }

    async fn end(&self, state: &State, task: Task) {
        match task {
            Task::Delete(candidate) => self.delete(state, &candidate).await,
            Task::Await(decision) => self.await_gone(state, &decision).await,
        }
        self.progress.step();
    }

    /// Lists the namespaces, reads their facts and decides.
    async fn plan(&self, state: &State) -> Result<Vec<Planned>, SweepError> {
        self.progress.phase("listing", 0);
        let mut listed = self.cluster.managed().await?;
        self.runs.add_states(&mut listed).await?;
        let now = self.clock.now();
        let ahead = self.cluster.ahead(self.clock).await?;
        inspect(self.cluster, self.policy, now, &mut listed, self.progress).await?;
        let mut planned: Vec<_> =
            listed.into_iter().map(|candidate| Planned::new(self.policy, now, candidate)).collect();
        plan::order(&mut planned);
        let around = Surroundings {
            ahead,
            due_before: self.due_before,
            allowed: self.allowed,
            runs_requested: self.runs.are_requested(),
        };
        let trips = plan::trips(self.policy, &planned, &around);
        let lines = planned.iter().map(Line::new).collect();
        state.report.lock().unwrap_or_else(PoisonError::into_inner).decided(lines, trips);
        Ok(planned)
    }

    /// The maximum number of deletions in this sweep.
    fn most(&self) -> u32 {
        self.policy.cleanup.breaker.max_deletions.max(self.allowed.unwrap_or_default())
    }

    /// Writes rows for the namespaces that are retained, and for limits of the circuit breaker. Returns the
    /// namespaces to delete, the oldest first.
    async fn report<'a>(
        &self,
        state: &State,
        planned: &'a [Planned],
    ) -> Result<Vec<&'a Candidate>, SweepError> {
        let trips = state.report.lock().unwrap_or_else(PoisonError::into_inner).trips().to_vec();
        let now = self.clock.now();
        if !trips.is_empty() {
            self.append(self.audit_events.refused(&trips, now)).await?;
        }
        // If the clock or the database is wrong, every decision is.
        let verdicts_hold = trips.iter().all(Trip::can_be_allowed);
        for retained in planned.iter().filter(|planned| verdicts_hold && planned.is_reported(now)) {
            self.report_retained(retained).await?;
        }
        Ok(plan::deletions(planned, &trips))
    }

    async fn report_retained(&self, retained: &Planned) -> Result<(), SweepError> {
        let name = &retained.candidate.name;
        fault::point(Point::BeforeSkipped, name).await;
        self.append(self.audit_events.retained(&retained.candidate, &retained.verdict, self.clock.now()))
            .await?;
        fault::point(Point::AfterSkipped, name).await;
        Ok(())
    }

    async fn report_absent(&self, candidate: &Candidate) -> Result<(), SweepError> {
        let event = self.audit_events.skipped(candidate, ALREADY_DELETED, self.clock.now());
        Ok(self.append(event).await?)
    }

    /// Writes a row, unless this is a dry run.
    async fn append(&self, event: Event) -> Result<(), StoreError> {
        match self.store {
            Some(store) => store.append(&event).await.map(drop),
            None => Ok(()),
        }
    }
}
