//! Agent Jobs and their stages: pending, running, suspended by their creator, or ended.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::reservations::{Candidate, Holder};
use crate::baseline::meta::MetaExt;

/// The stage of a Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The Job is suspended until it has a reservation.
    Pending,
    /// The Job runs, or may be resumed at any time by the user who suspended it: it has a reservation, or must get one
    /// immediately.
    Works,
    /// The creator has suspended the Job, or it is being deleted before it has started.
    Rests,
    /// The Job is complete or has failed: it never runs again.
    Ended,
}

/// The facts about an agent Job that its reservation depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentJob {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The resource version.
    pub version: String,
    /// The creation time. Older Jobs come first.
    pub created: Timestamp,
    /// The stage.
    pub stage: Stage,
    /// The reason why it is pending, as its annotation says.
    pub pending_reason: Option<String>,
}

impl AgentJob {
    /// Extracts the facts about a Job.
    pub(crate) fn of(job: &Job) -> Self {
        let meta = &job.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
            stage: stage(job),
            pending_reason: meta.annotation(keys::JOB_PENDING_REASON).map(str::to_owned),
        }
    }

    /// Returns the Job as the holder of a reservation.
    pub(crate) fn holder(&self) -> Holder {
        Holder::Job { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Returns the Job as a candidate for a reservation among the agent Jobs of a project.
    pub(crate) fn candidate(&self, quotas: &Quotas, project: &str) -> Candidate {
        let scope = Scope::of_jobs(Some(project));
        let max = quotas.limit(&scope);
        Candidate {
            holder: self.holder(),
            uid: self.uid.clone(),
            created: self.created,
            open: self.stage == Stage::Works,
            scopes: vec![(scope, max)],
        }
    }

    /// True if its annotation says that it is pending although it runs, because another client has lifted its
    /// suspension.
    pub(crate) const fn has_outdated_reason(&self) -> bool {
        matches!(self.stage, Stage::Works) && self.pending_reason.is_some()
    }

    /// True if this is an older version of the same Job.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        let version = |job: &Self| job.version.parse::<u64>().unwrap_or_default();
        self.uid == other.uid && version(self) < version(other)
    }
}

fn stage(job: &Job) -> Stage {
    let annotated = |key| job.metadata.annotation(key).is_some();
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let waits = suspended && annotated(keys::JOB_PENDING_REASON);
    if has_ended(job) {
        Stage::Ended
    } else if waits && job.metadata.deletion_timestamp.is_none() {
        Stage::Pending
    } else if suspended && (waits || !annotated(keys::JOB_ADMITTED_AT)) {
        Stage::Rests
    } else {
        Stage::Works
    }
}

fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| matches!(&*condition.type_, "Complete" | "Failed") && condition.status == "True")
}

/// Sorts pending Jobs, oldest first.
pub(crate) fn in_order(jobs: &mut [AgentJob]) {
    jobs.sort_by(|one, other| {
        (one.created, &one.namespace, &one.name).cmp(&(other.created, &other.namespace, &other.name))
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(changes: &Value) -> AgentJob {
        let mut job = json!({"metadata": {"namespace": "codex-run-1", "name": "j", "uid": "u", "resourceVersion": "9",
            "creationTimestamp": "2026-02-01T12:00:00Z"}, "spec": {"template": {}}});
        json_patch::merge(&mut job, changes);
        AgentJob::of(&serde_json::from_value(job).unwrap())
    }

    fn waiting() -> Value {
        json!({"metadata": {"annotations": {keys::JOB_PENDING_REASON: "a reservation"}}, "spec": {"suspend": true}})
    }

    fn with(mut base: Value, changes: &Value) -> Value {
        json_patch::merge(&mut base, changes);
        base
    }

    fn ended(condition: &str, status: &str) -> Value {
        json!({"status": {"conditions": [{"type": "Suspended", "status": "True"}, {"type": condition, "status": status}]}})
    }

    #[test]
    fn how_far_a_job_has_come_is_reported_by_its_suspension_its_annotations_and_its_conditions() {
        let reserved = json!({"metadata": {"annotations": {keys::JOB_ADMITTED_AT: "2026-02-01T12:00:00Z"}}});
        let suspended = json!({"spec": {"suspend": true}});
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-02-01T12:00:00Z"}});
        for (job, stage) in [
            (job(&json!({})), Stage::Works),
            (job(&json!({"spec": {"suspend": false}})), Stage::Works),
            (job(&suspended), Stage::Rests),
            (job(&waiting()), Stage::Pending),
            (job(&with(waiting(), &reserved)), Stage::Pending),
            (job(&with(waiting(), &deleted)), Stage::Rests),
            // A Job that its creator has suspended again keeps its reservation.
            (job(&with(suspended, &reserved)), Stage::Works),
            (job(&deleted), Stage::Works),
            (job(&ended("Complete", "True")), Stage::Ended),
            (job(&with(waiting(), &ended("Failed", "True"))), Stage::Ended),
            (job(&ended("Failed", "False")), Stage::Works),
            (job(&ended("FailureTarget", "True")), Stage::Works),
        ] {
            assert_eq!(job.stage, stage, "{job:?}");
        }
    }

    #[test]
    fn a_job_that_works_and_says_that_it_waits_says_too_much() {
        assert!(job(&with(waiting(), &json!({"spec": {"suspend": null}}))).has_outdated_reason());
        assert!(!job(&waiting()).has_outdated_reason());
        assert!(!job(&json!({})).has_outdated_reason());
    }

    #[test]
    fn the_oldest_comes_first_and_of_the_same_second_the_first_by_name() {
        let of = |namespace: &str, name: &str, second: u32| {
            job(&json!({"metadata": {"namespace": namespace, "name": name,
                "creationTimestamp": format!("2026-02-01T12:00:0{second}Z")}}))
        };
        let mut jobs = [of("b", "a", 1), of("a", "b", 1), of("a", "a", 2), of("c", "c", 0)];
        in_order(&mut jobs);
        assert_eq!(jobs.map(|job| job.holder().to_string()), ["c/c", "a/b", "b/a", "a/a"]);
    }

    #[test]
    fn an_older_sight_of_the_same_job_is_reported_from_a_newer_one() {
        let at =
            |uid: &str, version: &str| job(&json!({"metadata": {"uid": uid, "resourceVersion": version}}));
        assert!(at("u", "9").is_older_than(&at("u", "10")));
        assert!(!at("u", "10").is_older_than(&at("u", "9")));
        assert!(!at("u", "9").is_older_than(&at("another", "10")));
    }
}
