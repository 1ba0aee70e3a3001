//! The deletion of one namespace.

use std::time::{Duration, Instant};

use codex_k8s_shared::audit::decision::correlation_id;
use codex_k8s_shared::audit::{Filter, Store};
use codex_k8s_shared::cleanup::{Candidate, Verdict};

use super::report::Outcome;
use super::{DryRun, State, Sweep, SweepError};
use crate::cluster::Deletion;
use crate::cluster::blockers::Remains;
use crate::cluster::work::Deadline;
use crate::fault::{self, Point};
use crate::plan::Planned;
use crate::rows::{ALREADY_DELETED, CHANGED, Decision, LATE, attempts};

/// The maximum number of decisions about a namespace that changes during one sweep.
const MAX_ATTEMPTS: usize = 5;
/// The maximum time between the reads of a decision and its deletion: work that begins later may not be seen. The audit
/// store needs longer during a failover.
const MAX_AGE: Duration = Duration::from_secs(20);
/// The interval of checks that a namespace is gone.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The result of an attempt to delete a namespace.
enum Reply {
    /// It is terminating.
    Accepted(Box<Decision>),
    /// It was changed, and needs another decision.
    Changed,
    /// It is done; there is nothing to wait for.
    Over(Outcome),
}

impl Sweep<'_> {
    /// Deletes a namespace if it is still due, and waits until it is gone.
    pub(super) async fn delete(&self, state: &State, candidate: &Candidate) {
        let Some(slot) = state.budget.take().await else {
            return state.note(&candidate.name, &candidate.uid, Outcome::Postponed);
        };
        let sent = {
            // The semaphore is never closed.
            let _permit = state.sending.acquire().await.ok();
            if self.lost.is_cancelled() {
                state.stop(SweepError::LeaseLost);
            }
            if self.stop.is_cancelled() {
                state.stop(SweepError::Interrupted);
            }
            if state.is_stopped() {
                return;
            }
            self.send(candidate).await
        };
        if matches!(sent, Ok(Reply::Accepted(_) | Reply::Over(Outcome::WouldDelete))) {
            slot.spend();
        } else {
            drop(slot);
        }
        match sent {
            Ok(Reply::Accepted(decision)) => self.await_gone(state, &decision).await,
            Ok(Reply::Over(outcome)) => state.note(&candidate.name, &candidate.uid, outcome),
            Ok(Reply::Changed) => {
                let outcome =
                    Outcome::Failed { error: "it changes faster than it can be deleted".to_owned() };
                state.note(&candidate.name, &candidate.uid, outcome);
            }
            Err(error) => {
                state.note(&candidate.name, &candidate.uid, Outcome::Failed { error: error.to_string() });
                state.stop(error);
            }
        }
    }

    async fn send(&self, candidate: &Candidate) -> Result<Reply, SweepError> {
        for _ in 0..MAX_ATTEMPTS {
            match self.decide_and_send(candidate).await? {
                Reply::Changed => {}
                sent => return Ok(sent),
            }
        }
        Ok(Reply::Changed)
    }

    /// Reads the namespace again, decides again, writes the intention, and deletes exactly the version that was read.
    async fn decide_and_send(&self, candidate: &Candidate) -> Result<Reply, SweepError> {
        let Some(mut fresh) = self.cluster.fresh(&candidate.name).await? else {
            self.report_absent(candidate).await?;
            return Ok(Reply::Over(Outcome::AlreadyDeleted));
        };
        let deadline = Deadline { now: self.clock.now(), to_start: self.policy.cleanup.work_grace };
        fresh.work = self.cluster.work(&fresh.name, deadline).await?;
        self.runs.add_states(std::slice::from_mut(&mut fresh)).await?;
        let now = self.clock.now();
        let planned = Planned::new(self.policy, now, fresh);
        let Verdict::Delete(reason) = &planned.verdict else {
            if planned.is_reported(now) {
                self.report_retained(&planned).await?;
            }
            return Ok(Reply::Over(Outcome::retained(&planned.verdict)));
        };
        if self.dry_run != DryRun::No {
            return Ok(Reply::Over(self.rehearse(&planned.candidate).await));
        }
        let attempts = self.attempts(&planned.candidate).await?;
        let decision = Decision::new(planned.candidate.clone(), reason, attempts);
        self.intend_and_delete(decision).await
    }

    /// The result of the deletion as a dry run, including all admission.
    async fn rehearse(&self, candidate: &Candidate) -> Outcome {
        match self.cluster.delete(candidate, true).await {
            Deletion::Accepted => Outcome::WouldDelete,
            Deletion::Absent => Outcome::AlreadyDeleted,
            Deletion::Changed => Outcome::Failed { error: "it was changed meanwhile".to_owned() },
            Deletion::Refused(error) | Deletion::Unknown(error) => Outcome::Failed { error },
        }
    }

    async fn attempts(&self, candidate: &Candidate) -> Result<usize, SweepError> {
        let Some(store) = self.store else { return Ok(0) };
        // By the correlation id, because the platform's table has an index for it.
        let filter = Filter {
            correlation_id: Some(correlation_id(candidate).to_owned()),
            namespace: Some(candidate.name.clone()),
            ..Filter::default()
        };
        Ok(attempts(&store.rows(&filter).await?, &candidate.uid))
    }

    async fn intend_and_delete(&self, decision: Decision) -> Result<Reply, SweepError> {
        let name = decision.candidate.name.clone();
        fault::point(Point::BeforeIntended, &name).await;
        let begun = Instant::now();
        self.append(self.audit_events.intended(&decision, self.clock.now())).await?;
        if begun.elapsed() > MAX_AGE {
            self.append(self.audit_events.given_up(&decision, LATE, self.clock.now())).await?;
            return Ok(Reply::Changed);
        }
        fault::point(Point::AfterIntended, &name).await;
        let deletion = self.cluster.delete(&decision.candidate, false).await;
        fault::point(Point::AfterDelete, &name).await;
        match deletion {
            Deletion::Accepted => Ok(Reply::Accepted(Box::new(decision))),
            Deletion::Refused(error) => self.failed(&decision, error).await.map(Reply::Over),
            Deletion::Changed | Deletion::Absent => self.after_change(decision).await,
            Deletion::Unknown(error) => self.after_no_response(decision, error).await,
        }
    }

    async fn failed(&self, decision: &Decision, error: String) -> Result<Outcome, SweepError> {
        tracing::warn!(namespace = decision.candidate.name, error, "the deletion failed");
        self.append(self.audit_events.failed(decision, error.clone(), self.clock.now())).await?;
        Ok(Outcome::Failed { error })
    }

    /// Handles a namespace that has changed since the decision.
    async fn after_change(&self, decision: Decision) -> Result<Reply, SweepError> {
        let Candidate { name, uid, .. } = &decision.candidate;
        match self.cluster.remains(name, uid).await? {
            Remains::Terminating { .. } => Ok(Reply::Accepted(Box::new(decision))),
            Remains::Gone => {
                let event = self.audit_events.given_up(&decision, ALREADY_DELETED, self.clock.now());
                self.append(event).await?;
                Ok(Reply::Over(Outcome::AlreadyDeleted))
            }
            Remains::Lives => {
                self.append(self.audit_events.given_up(&decision, CHANGED, self.clock.now())).await?;
                Ok(Reply::Changed)
            }
        }
    }

    /// Handles a request without a response: the state of the namespace shows the result. If that cannot be read
    /// either, the intention stays open for the next sweep.
    async fn after_no_response(&self, decision: Decision, error: String) -> Result<Reply, SweepError> {
        let Candidate { name, uid, .. } = &decision.candidate;
        match self.cluster.remains(name, uid).await? {
            Remains::Lives => self.failed(&decision, error).await.map(Reply::Over),
            Remains::Gone | Remains::Terminating { .. } => Ok(Reply::Accepted(Box::new(decision))),
        }
    }

    /// Waits until a namespace is gone, and writes the outcome; or reports the blockers after the timeout.
    pub(super) async fn await_gone(&self, state: &State, decision: &Decision) {
        let Candidate { name, uid, .. } = &decision.candidate;
        let noted = match self.gone(decision).await {
            Ok(blockers) if blockers.is_empty() => self.cleaned(decision).await.map(|()| Outcome::Deleted),
            Ok(blockers) => self.stuck(decision, blockers).await,
            Err(error) => Err(error),
        };
        match noted {
            Ok(outcome) => state.note(name, uid, outcome),
            Err(error) => {
                state.note(name, uid, Outcome::Failed { error: error.to_string() });
                state.stop(error);
            }
        }
    }

    /// Returns no blockers once the namespace is gone, or those at the timeout. An API server that does not respond
    /// for some time does not end the wait.
    async fn gone(&self, decision: &Decision) -> Result<Vec<String>, SweepError> {
        let Candidate { name, uid, .. } = &decision.candidate;
        let begun = Instant::now();
        loop {
            let remains = self.cluster.remains(name, uid).await;
            let too_long = begun.elapsed() >= self.policy.cleanup.wait_for_gone;
            match remains {
                Ok(Remains::Gone) => return Ok(Vec::new()),
                Ok(Remains::Terminating { mut blockers }) if too_long => {
                    if blockers.is_empty() {
                        blockers.push("nothing that its conditions tell".to_owned());
                    }
                    return Ok(blockers);
                }
                Ok(Remains::Lives) => return Ok(vec!["it lives: the deletion was taken back".to_owned()]),
                Err(error) if too_long => return Err(error.into()),
                Ok(Remains::Terminating { .. }) | Err(_) => tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                    () = self.stop.cancelled() => return Err(SweepError::Interrupted),
                },
            }
        }
    }

    async fn cleaned(&self, decision: &Decision) -> Result<(), SweepError> {
        let name = &decision.candidate.name;
        fault::point(Point::BeforeCleaned, name).await;
        self.append(self.audit_events.cleaned(decision, self.clock.now())).await?;
        fault::point(Point::AfterCleaned, name).await;
        Ok(())
    }

    async fn stuck(&self, decision: &Decision, blockers: Vec<String>) -> Result<Outcome, SweepError> {
        tracing::warn!(namespace = decision.candidate.name, ?blockers, "still being deleted");
        self.append(self.audit_events.stuck(decision, &blockers, self.clock.now())).await?;
        Ok(Outcome::Terminating { blockers })
    }
}
