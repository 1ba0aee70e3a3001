//! The rows about a namespace, and the ids by which a store has each of them once. Pure.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Actor, Event, EventType, Payload};
use crate::cleanup::Candidate;
use crate::keys;

/// The reason of a row about a deletion that no sweep of this product has decided.
const DELETED_BY_ANOTHER_USER: &str = "deleted_by_another_user";

/// The fields that all rows of a program share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The id of the actor.
    pub actor: String,
    /// The hash of the current policy.
    pub policy_hash: String,
}

/// A Job of a run, as far as rows mention it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunJob {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The run, from the label.
    pub run_id: String,
    /// The correlation id, from the annotation.
    pub correlation_id: Option<String>,
    /// The transition that the row is about.
    pub transition: JobTransition,
    /// The time of the transition.
    pub at: Timestamp,
}

/// A transition of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTransition {
    /// It was started: it is not suspended.
    Admitted,
    /// It has completed or failed, for a reason of the Job controller.
    Finished {
        /// The reason, as a code.
        reason: Option<String>,
        /// The message, if it failed.
        error: Option<String>,
    },
}

impl RunJob {
    /// The id by which a store has the row once.
    pub fn decision_id(&self) -> String {
        let transition = match self.transition {
            JobTransition::Admitted => "job_admitted",
            JobTransition::Finished { .. } => "job_finished",
        };
        decision_id(&[transition, &self.uid])
    }
}

/// The id of a decision: the same parts have the same id, in every program.
pub fn decision_id(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(16).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The id by which a store has the row about a prepared namespace once for each run in it.
pub fn prepared_id(candidate: &Candidate) -> String {
    decision_id(&["prepared", &candidate.uid, candidate.label(keys::RUN_ID).unwrap_or_default()])
}

/// The correlation id of the run. Without one, the run or the name is used.
pub fn correlation_id(candidate: &Candidate) -> &str {
    let annotated = candidate.annotation(keys::CORRELATION_ID).filter(|id| !id.is_empty());
    annotated.or_else(|| candidate.label(keys::RUN_ID)).unwrap_or(&candidate.name)
}

impl Origin {
    /// A row about a namespace.
    pub fn event(&self, event_type: EventType, candidate: &Candidate, id: String, now: Timestamp) -> Event {
        let label = |key| candidate.label(key).unwrap_or_default().to_owned();
        let lease = |key| candidate.annotation(key).map(str::to_owned);
        let payload = Payload {
            run_id: label(keys::RUN_ID),
            project_id: label(keys::PROJECT_ID),
            runtime_mode: label(keys::RUNTIME_MODE),
            namespace: candidate.name.clone(),
            namespace_lease_ttl: lease(keys::NAMESPACE_LEASE_TTL),
            namespace_lease_expires_at: lease(keys::NAMESPACE_LEASE_EXPIRES_AT),
            decision_id: Some(id),
            uid: Some(candidate.uid.clone()),
            resource_version: Some(candidate.resource_version.clone()),
            policy_hash: Some(self.policy_hash.clone()),
            ..Payload::default()
        };
        Event {
            correlation_id: correlation_id(candidate).to_owned(),
            actor: Actor::system(&self.actor),
            event_type,
            payload,
            created_at: now,
        }
    }

    /// The baseline of a namespace is live since this time: written once for a run in a namespace.
    pub fn prepared(&self, candidate: &Candidate, ready_at: Timestamp) -> Event {
        self.event(EventType::Prepared, candidate, prepared_id(candidate), ready_at)
    }

    /// A Job in a namespace was started or has ended: written once for each.
    pub fn job(&self, namespace: &Candidate, job: &RunJob) -> Event {
        let (event_type, reason, error) = match &job.transition {
            JobTransition::Admitted => (EventType::JobAdmitted, None, None),
            JobTransition::Finished { reason, error } => {
                (EventType::JobFinished, reason.clone(), error.clone())
            }
        };
        let mut event = self.event(event_type, namespace, job.decision_id(), job.at);
        if let Some(correlation_id) = &job.correlation_id {
            event.correlation_id.clone_from(correlation_id);
        }
        event.payload.run_id.clone_from(&job.run_id);
        event.payload.job_name = Some(job.name.clone());
        (event.payload.reason, event.payload.error) = (reason, error);
        event
    }

    /// The namespace of this row is gone, and no sweep has decided it: written once for a namespace.
    pub fn deleted(&self, prepared: &Event, now: Timestamp) -> Event {
        let Payload { run_id, project_id, runtime_mode, namespace, uid, .. } = prepared.payload.clone();
        // Rows of the platform have no uid.
        let id = match &uid {
            Some(uid) => decision_id(&["deleted", uid]),
            None => decision_id(&["deleted", &namespace, &run_id, &prepared.created_at.to_string()]),
        };
        let payload = Payload {
            run_id,
            project_id,
            runtime_mode,
            namespace,
            uid,
            reason: Some(DELETED_BY_ANOTHER_USER.to_owned()),
            decision_id: Some(id),
            policy_hash: Some(self.policy_hash.clone()),
            ..Payload::default()
        };
        Event {
            correlation_id: prepared.correlation_id.clone(),
            actor: Actor::system(&self.actor),
            event_type: EventType::Deleted,
            payload,
            created_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_row_for_each_run_and_one_for_its_deletion() {
        let origin = |actor: &str| Origin { actor: actor.to_owned(), policy_hash: "p".to_owned() };
        let of_run = |run: &str| Candidate {
            name: "n".to_owned(),
            uid: "u".to_owned(),
            labels: [(keys::RUN_ID.to_owned(), run.to_owned())].into(),
            ..Candidate::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let id = |event: Event| event.payload.decision_id.unwrap();
        let first = origin("a").prepared(&of_run("r1"), now);
        let second = origin("a").prepared(&of_run("r2"), now);
        assert_eq!(id(first.clone()), id(origin("b").prepared(&of_run("r1"), now)), "by any program");
        assert_ne!(id(first.clone()), id(second.clone()));
        let deleted = origin("a").deleted(&first, now);
        assert_eq!(id(deleted.clone()), id(origin("b").deleted(&second, now)));
        assert_eq!((deleted.correlation_id.as_str(), deleted.payload.namespace.as_str()), ("r1", "n"));
        let mut of_platform = first;
        of_platform.payload.uid = None;
        assert_ne!(id(origin("a").deleted(&of_platform, now)), id(deleted));
    }
}
