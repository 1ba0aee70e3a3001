//! The contents of an audit row.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The type of an event. The names are the platform's, except for those that only this product has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The baseline of a namespace is live.
    Prepared,
    /// A namespace is about to be deleted. Not a type of the platform; the row is durable before the deletion is
    /// sent.
    CleanupIntended,
    /// A namespace is gone.
    Cleaned,
    /// A namespace could not be deleted.
    CleanupFailed,
    /// A namespace is retained although its lease has ended.
    CleanupSkipped,
    /// The circuit breaker of a sweep tripped. Not a type of the platform.
    CleanupRefused,
    /// A namespace is gone, and another user has deleted it. Not a type of the platform.
    Deleted,
    /// A Job of a run was started. Not a type of the platform.
    JobAdmitted,
    /// A Job of a run has completed or failed. Not a type of the platform.
    JobFinished,
}

/// A text that is not one of these types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no event type that this program writes")]
pub struct EventTypeError(String);

impl EventType {
    /// All types.
    pub const ALL: [Self; 9] = [
        Self::Prepared,
        Self::CleanupIntended,
        Self::Cleaned,
        Self::CleanupFailed,
        Self::CleanupSkipped,
        Self::CleanupRefused,
        Self::Deleted,
        Self::JobAdmitted,
        Self::JobFinished,
    ];

    /// The value of the column `event_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "run.namespace.prepared",
            Self::CleanupIntended => "run.namespace.cleanup_intended",
            Self::Cleaned => "run.namespace.cleaned",
            Self::CleanupFailed => "run.namespace.cleanup_failed",
            Self::CleanupSkipped => "run.namespace.cleanup_skipped",
            Self::CleanupRefused => "run.namespace.cleanup_refused",
            Self::Deleted => "run.namespace.deleted",
            Self::JobAdmitted => "run.job.admitted",
            Self::JobFinished => "run.job.finished",
        }
    }

    /// Returns true if the event is the outcome of an intention.
    pub const fn ends_an_intention(self) -> bool {
        matches!(self, Self::Cleaned | Self::CleanupFailed | Self::CleanupSkipped)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = EventTypeError;

    fn from_str(text: &str) -> Result<Self, EventTypeError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| EventTypeError(text.chars().take(80).collect()))
    }
}

/// The program or user that caused an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The kind: `system` for programs.
    pub kind: String,
    /// The id; empty if there is no particular one.
    pub id: String,
}

impl Actor {
    /// The actor of a program.
    pub fn system(id: impl Into<String>) -> Self {
        Self { kind: "system".to_owned(), id: id.into() }
    }
}

/// The payload of a row: the platform's fields, then those of this product. Absent fields are omitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// The run, from the namespace's label.
    pub run_id: String,
    /// The project, from the namespace's label.
    pub project_id: String,
    /// The runtime mode, from the namespace's label.
    pub runtime_mode: String,
    /// The namespace.
    pub namespace: String,
    /// The Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// The error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The reason, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The objects that blocked the deletion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guardrail_details: Vec<String>,
    /// A command that deletes the namespace manually.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_command: Option<String>,
    /// The lease's time to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_lease_ttl: Option<String>,
    /// The end of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_lease_expires_at: Option<String>,
    /// Not a field of the platform: the decision, the same in each of its stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// Not a field of the platform: the namespace's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Not a field of the platform: the version of the namespace that was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Not a field of the platform: the hash of the policy that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
}

impl Payload {
    /// Reads a payload of any origin; invalid fields are left out.
    pub(crate) fn from_others(json: &str) -> Self {
        if let Ok(whole) = serde_json::from_str(json) {
            return whole;
        }
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(json) else { return Self::default() };
        let fits = |key: &str, value: &Value| Self::deserialize(json!({ key: value })).is_ok();
        let fitting: Map<_, _> = fields.into_iter().filter(|(key, value)| fits(key, value)).collect();
        Self::deserialize(Value::Object(fitting)).unwrap_or_default()
    }
}

/// A row before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id that all rows of a run share.
    pub correlation_id: String,
    /// The actor.
    pub actor: Actor,
    /// The type.
    pub event_type: EventType,
    /// The payload.
    pub payload: Payload,
    /// The time of the event.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_is_read_as_it_is_written() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.as_str().parse(), Ok(event_type));
        }
        assert!("run.started".parse::<EventType>().is_err());
    }

    #[test]
    fn a_payload_has_the_platforms_fields_always_and_the_others_where_they_are_known() {
        let payload = Payload {
            run_id: "r1".to_owned(),
            namespace: "codex-issue-1".to_owned(),
            reason: Some("ttl_expired".to_owned()),
            ..Payload::default()
        };
        let json = serde_json::to_value(&payload).unwrap();
        let expected = serde_json::json!({"run_id": "r1", "project_id": "", "runtime_mode": "",
            "namespace": "codex-issue-1", "reason": "ttl_expired"});
        assert_eq!(json, expected);
    }

    #[test]
    fn a_payload_of_others_is_read_as_far_as_it_is_one() {
        let others = r#"{"run_id": 7, "namespace": "n", "guardrail_details": null, "reason": "ttl_expired"}"#;
        let payload = Payload::from_others(others);
        assert_eq!((payload.namespace.as_str(), payload.reason.as_deref()), ("n", Some("ttl_expired")));
        assert_eq!((payload.run_id.as_str(), payload.guardrail_details.len()), ("", 0));
        for none in ["[1]", "\"text\"", "null", "{", ""] {
            assert_eq!(Payload::from_others(none), Payload::default(), "{none}");
        }
    }

    #[test]
    fn rows_of_a_later_version_are_read_without_what_this_one_does_not_know() {
        let later = r#"{"run_id": "r1", "namespace": "n", "shard": 7, "guardrail_details": ["pods=a"]}"#;
        let payload: Payload = serde_json::from_str(later).unwrap();
        assert_eq!((payload.run_id.as_str(), payload.guardrail_details.len()), ("r1", 1));
    }
}
