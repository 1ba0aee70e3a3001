//! Agent Jobs: which of them works, which waits for a reservation, and which is none of our business for now.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::super::meta::MetaExt;
use super::reservations::{Candidate, Holder};

/// How far a Job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is suspended until there is a reservation for it.
    PendingNamespace,
    /// It works, or may do so whenever whoever suspended it likes: it has a reservation, or is to have one at once.
    Works,
    /// Its creator has suspended it, or it is being deleted before it has begun.
    Rests,
    /// It is complete, or has failed: it never works again.
    Ended,
}

/// An agent Job, as far as its reservation is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentJob {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version in which it was seen.
    pub version: String,
    /// When it was created: who is older comes first.
    pub created: Timestamp,
    /// How far it has come.
    pub stage: Stage,
    /// What it says that it waits for.
    pub pending_reason: Option<String>,
}

impl AgentJob {
    /// What there is to know of a Job.
    pub fn of(job: &Job) -> Self {
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

    /// Who it is, as the holder of a reservation.
    pub fn holder(&self) -> Holder {
        Holder::Job { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// As one that is to have a quota reservation among the agent Jobs of a project.
    pub fn candidate(&self, quotas: &Quotas, project: &str) -> Candidate {
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

    /// Whether it says that it waits although it works: somebody else has lifted its suspension.
    pub const fn says_too_much(&self) -> bool {
        matches!(self.stage, Stage::Works) && self.pending_reason.is_some()
    }

    /// Whether this is the same Job, seen before the other was.
    pub fn is_older_than(&self, other: &Self) -> bool {
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
        Stage::PendingNamespace
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

/// Puts those that wait in their order: the oldest first.
pub fn in_order(jobs: &mut [AgentJob]) {
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
            (job(&waiting()), Stage::PendingNamespace),
            (job(&with(waiting(), &reserved)), Stage::PendingNamespace),
            (job(&with(waiting(), &deleted)), Stage::Rests),
            // Whoever has suspended it has not given its reservation back.
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
        assert!(job(&with(waiting(), &json!({"spec": {"suspend": null}}))).says_too_much());
        assert!(!job(&waiting()).says_too_much());
        assert!(!job(&json!({})).says_too_much());
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
