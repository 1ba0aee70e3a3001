//! What a row says.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What happened. The names are the platform's, save those of the two stages that only we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The baseline of a namespace is live.
    Prepared,
    /// A namespace is about to be deleted. Ours: it is durable before the deletion is sent.
    CleanupIntended,
    /// A namespace is gone.
    Cleaned,
    /// A namespace could not be deleted.
    CleanupFailed,
    /// A namespace is kept although its lease has ended.
    CleanupSkipped,
    /// A sweep refused to delete anything. Ours.
    CleanupRefused,
}

/// A text that names no event of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no event type that this program writes")]
pub struct EventTypeError(String);

impl EventType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Prepared,
        Self::CleanupIntended,
        Self::Cleaned,
        Self::CleanupFailed,
        Self::CleanupSkipped,
        Self::CleanupRefused,
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
        }
    }

    /// Whether it says what came of an intention.
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

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The kind: `system` for programs.
    pub kind: String,
    /// Which one; empty for nobody in particular.
    pub id: String,
}

impl Actor {
    /// A program.
    pub fn system(id: impl Into<String>) -> Self {
        Self { kind: "system".to_owned(), id: id.into() }
    }
}

/// The payload of a row: the platform's fields, then ours. Absent fields are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// The run, as the namespace's label says.
    pub run_id: String,
    /// The project, as the namespace's label says.
    pub project_id: String,
    /// The runtime mode, as the namespace's label says.
    pub runtime_mode: String,
    /// The namespace.
    pub namespace: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What exactly stood in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guardrail_details: Vec<String>,
    /// A command that would delete it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_command: Option<String>,
    /// The lease's time to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_lease_ttl: Option<String>,
    /// When the lease ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_lease_expires_at: Option<String>,
    /// Ours: the decision, the same in each of its stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// Ours: the namespace's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Ours: the version of the namespace that was decided about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Ours: the policy under which it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
}

impl Payload {
    /// Reads a payload that anybody may have written: what is not as it should be is left out.
    pub fn from_others(json: &str) -> Self {
        if let Ok(whole) = serde_json::from_str(json) {
            return whole;
        }
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(json) else { return Self::default() };
        let fits = |key: &str, value: &Value| Self::deserialize(json!({ key: value })).is_ok();
        let fitting: Map<_, _> = fields.into_iter().filter(|(key, value)| fits(key, value)).collect();
        Self::deserialize(Value::Object(fitting)).unwrap_or_default()
    }
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id that ties the rows of a run together.
    pub correlation_id: String,
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub event_type: EventType,
    /// The rest.
    pub payload: Payload,
    /// When.
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
