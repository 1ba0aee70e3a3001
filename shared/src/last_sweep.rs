//! What the last sweep of the garbage collector came to, as it is kept in a `ConfigMap` of our own namespace: the
//! garbage collector writes it, and the reconciler tells it as metrics, so that a collector that has stopped is seen.

#[cfg(feature = "metrics")]
mod collector;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "metrics")]
pub use collector::{PREFIX, SweepCollector};

/// The name of the `ConfigMap`.
pub const CONFIG_MAP: &str = "codex-k8s-gc-last-sweep";
/// The key in it.
pub const KEY: &str = "sweep.json";

/// How a sweep ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum SweepResult {
    /// All was done.
    Succeeded,
    /// Some namespaces could not be deleted.
    Partial,
    /// The breaker tripped: only what was due by its own lease was deleted, or nothing at all.
    Aborted,
    /// It ended early: something was not to be reached. Also what a later version may call otherwise.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Partial, Self::Aborted, Self::Failed];

    /// Its code, for people and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    /// Whether the sweep did all that it is there for.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Succeeded)
    }
}

/// The last sweep. Fields that a later version adds are left alone; those that it leaves out are as if nothing was
/// found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastSweep {
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When one last ended well.
    pub last_success: Option<Timestamp>,
    /// How it ended.
    pub result: SweepResult,
    /// What went wrong, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Managed namespaces.
    pub managed: u32,
    /// Those that were due.
    pub due: u32,
    /// Those among them that were due by anything but their own leases.
    pub due_by_policy: u32,
    /// Those that are gone now.
    pub deleted: u32,
    /// Those that could not be deleted.
    pub failed: u32,
    /// Those that are still being deleted after the time that it may take.
    pub stuck: u32,
    /// Those that stay, by the code of the reason.
    pub retained: BTreeMap<String, u32>,
    /// Those that stay beyond lease, retention, hold and `cleanup.workGrace`, by the code of the reason.
    pub overdue: BTreeMap<String, u32>,
    /// The end of the lease of the namespace that should have gone first and is still there.
    pub oldest_expired: Option<Timestamp>,
    /// Since when the namespace is being deleted that has been for longest.
    pub oldest_terminating: Option<Timestamp>,
    /// What the breaker tripped at, as codes.
    pub breaker: Vec<String>,
    /// What is left over of namespaces that are gone.
    pub leaks: u32,
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
