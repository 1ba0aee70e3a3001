//! The state of a Job, in one line.

use std::fmt;

use codex_k8s_shared::keys;
use k8s_openapi::api::batch::v1::Job;

/// The state of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No Pod is running yet.
    Pending,
    /// It is suspended: until it has a reservation, or by a user.
    Suspended {
        /// The reason why it waits, if it is known.
        waits_for: Option<String>,
    },
    /// Pods are running.
    Running {
        /// The number of active Pods.
        active: i32,
        /// The number of failed Pods.
        failed: i32,
    },
    /// It has succeeded.
    Succeeded,
    /// It has failed.
    Failed {
        /// The reason.
        reason: String,
    },
    /// It does not exist any more.
    Gone,
}

impl State {
    /// Returns the state of a Job; `None` stands for one that does not exist.
    pub(crate) fn of(job: Option<&Job>) -> Self {
        let Some(job) = job else { return Self::Gone };
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |kind| conditions.iter().find(|found| found.type_ == kind && found.status == "True");
        if condition("Complete").is_some() {
            return Self::Succeeded;
        }
        if let Some(failed) = condition("Failed") {
            let parts = [failed.reason.as_deref(), failed.message.as_deref()];
            let reason = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>();
            return Self::Failed { reason: reason.join(": ") };
        }
        if job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) {
            let annotations = job.metadata.annotations.as_ref();
            let waits_for =
                annotations.and_then(|annotations| annotations.get(keys::JOB_PENDING_REASON)).cloned();
            return Self::Suspended { waits_for };
        }
        match (status.active.unwrap_or_default(), status.failed.unwrap_or_default()) {
            (0, 0) => Self::Pending,
            (active, failed) => Self::Running { active, failed },
        }
    }

    /// Returns true for a final state.
    pub const fn is_the_end(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. } | Self::Gone)
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => out.write_str("pending"),
            Self::Suspended { waits_for: None } => out.write_str("suspended"),
            Self::Suspended { waits_for: Some(what) } => write!(out, "waits for {what}"),
            Self::Running { active, failed: 0 } => write!(out, "running, {active} active"),
            Self::Running { active, failed } => write!(out, "running, {active} active, {failed} failed"),
            Self::Succeeded => out.write_str("succeeded"),
            Self::Failed { reason } if reason.is_empty() => out.write_str("failed"),
            Self::Failed { reason } => write!(out, "failed: {reason}"),
            Self::Gone => out.write_str("gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn describe(job: &Value) -> String {
        let job: Job = serde_json::from_value(job.clone()).unwrap();
        State::of(Some(&job)).to_string()
    }

    #[test]
    fn each_state_is_reported_in_one_line() {
        let spec = json!({"template": {}});
        let ended = |kind: &str, status: &str| {
            json!({"spec": spec, "status": {"conditions": [{"type": kind, "status": status, "reason": "DeadlineExceeded",
                "message": "it took too long"}]}})
        };
        assert_eq!(describe(&json!({"spec": spec})), "pending");
        assert_eq!(describe(&json!({"spec": spec, "status": {"active": 1}})), "running, 1 active");
        assert_eq!(describe(&json!({"spec": spec, "status": {"failed": 2}})), "running, 0 active, 2 failed");
        assert_eq!(describe(&ended("Complete", "True")), "succeeded");
        assert_eq!(describe(&ended("Failed", "True")), "failed: DeadlineExceeded: it took too long");
        assert_eq!(describe(&ended("Failed", "False")), "pending");
        let waiting = json!({"metadata": {"annotations": {"codex-k8s.dev/job-pending-reason": "a place"}},
            "spec": {"suspend": true, "template": {}}});
        assert_eq!(describe(&waiting), "waits for a place");
        assert_eq!(describe(&json!({"spec": {"suspend": true, "template": {}}})), "suspended");
        assert_eq!(State::of(None).to_string(), "gone");
    }

    #[test]
    fn only_an_end_is_the_end() {
        let reason = String::new();
        for end in [State::Succeeded, State::Failed { reason }, State::Gone] {
            assert!(end.is_the_end(), "{end}");
        }
        for going_on in
            [State::Pending, State::Suspended { waits_for: None }, State::Running { active: 0, failed: 1 }]
        {
            assert!(!going_on.is_the_end(), "{going_on}");
        }
    }
}
