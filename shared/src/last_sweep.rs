//! The outcome of the last sweep, stored in a `ConfigMap` of the install namespace. The garbage collector writes it,
//! and the reconciler exports it as metrics, so that a collector that has stopped is noticed.

#[cfg(feature = "metrics")]
mod collector;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "metrics")]
pub use collector::{PREFIX, SweepCollector};

/// The name of the `ConfigMap`.
pub const CONFIG_MAP: &str = "codex-k8s-gc-last-sweep";
/// The key in the `ConfigMap`.
pub const KEY: &str = "sweep.json";

/// The result of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum SweepResult {
    /// Everything that was due was deleted.
    Succeeded,
    /// Some namespaces could not be deleted.
    Partial,
    /// The circuit breaker tripped: only namespaces that were due by their own lease were deleted, or none at all.
    Aborted,
    /// The sweep ended early because a service was not available. Also stands for results of later versions.
    #[default]
    Failed,
}

impl From<String> for SweepResult {
    fn from(text: String) -> Self {
        Self::ALL.into_iter().find(|known| known.as_str() == text).unwrap_or_default()
    }
}

impl From<SweepResult> for &'static str {
    fn from(result: SweepResult) -> Self {
        result.as_str()
    }
}

impl SweepResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Partial, Self::Aborted, Self::Failed];

    /// The code for output and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    /// Returns true if the sweep did everything that was due.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Succeeded)
    }
}

/// The last sweep. Fields that a later version adds are ignored; fields that are absent have their empty value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastSweep {
    /// The start.
    pub started_at: Option<Timestamp>,
    /// The end.
    pub finished_at: Option<Timestamp>,
    /// The end of the last successful sweep.
    pub last_success: Option<Timestamp>,
    /// The result.
    pub result: SweepResult,
    /// The error, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The number of managed namespaces.
    pub managed: u32,
    /// The number of namespaces that were due.
    pub due: u32,
    /// The number of those that were due for reasons other than their own lease.
    pub due_by_policy: u32,
    /// The number of namespaces that are gone.
    pub deleted: u32,
    /// The number of namespaces that could not be deleted.
    pub failed: u32,
    /// The number of namespaces that were still terminating at the timeout.
    pub stuck: u32,
    /// The retained namespaces, by the code of the reason.
    pub retained: BTreeMap<String, u32>,
    /// The namespaces that are retained beyond lease, retention, hold and `cleanup.workGrace`, by the code of the
    /// reason.
    pub overdue: BTreeMap<String, u32>,
    /// The earliest end of a lease among the namespaces that were due and still exist.
    pub oldest_expired: Option<Timestamp>,
    /// The earliest time of a deletion request among the namespaces that are still terminating.
    pub oldest_terminating: Option<Timestamp>,
    /// The codes of the limits at which the circuit breaker tripped.
    pub breaker: Vec<String>,
    /// The number of objects that are left over from deleted namespaces.
    pub leaks: u32,
    /// The last removal of old audit rows.
    pub last_prune: Option<Timestamp>,
    /// The number of rows that it removed.
    pub pruned_rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_read_as_it_was_written_and_one_of_a_later_version_as_far_as_it_is_known() {
        for result in SweepResult::ALL {
            let sweep = LastSweep { result, managed: 3, ..LastSweep::default() };
            let text = serde_json::to_string(&sweep).unwrap();
            assert_eq!(serde_json::from_str::<LastSweep>(&text).unwrap(), sweep);
            assert!(text.contains(&format!("\"{}\"", result.as_str())), "{text}");
        }
        let later: LastSweep =
            serde_json::from_str(r#"{"result": "postponed", "due": 2, "shards": 7}"#).unwrap();
        assert_eq!((later.result, later.due, later.managed), (SweepResult::Failed, 2, 0));
    }
}
