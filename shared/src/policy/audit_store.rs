//! The lifetime of audit rows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{go_duration, go_duration_option};
use super::{PolicyError, invalid};

/// The shortest retention and the shortest interval. Sweeps read the rows of the last hours to complete the deletions
/// that earlier sweeps have begun.
const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// The audit rows about Jobs, and the lifetime of all rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuditStorePolicy {
    /// The time that audit rows stay. Without it, they stay forever, because they are evidence.
    #[serde(with = "go_duration_option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub retention: Option<Duration>,
    /// The time between two removals of old rows. The first sweep after it removes them.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub prune_interval: Duration,
    /// Writes rows about the Jobs of runs as well, when they start and when they have ended. The reconciler writes them,
    /// and needs an audit store for it.
    pub jobs: bool,
}

impl Default for AuditStorePolicy {
    fn default() -> Self {
        Self { retention: None, prune_interval: DAY, jobs: false }
    }
}

impl AuditStorePolicy {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.retention.is_some_and(|retention| retention < DAY) {
            return Err(invalid(
                "auditStore.retention",
                "is shorter than 24h; sweeps need the rows of the last hours",
            ));
        }
        if self.prune_interval < HOUR {
            return Err(invalid("auditStore.pruneInterval", "is shorter than 1h"));
        }
        Ok(())
    }

    /// The time before which rows are removed, if they are removed at all.
    pub fn removed_before(&self, now: Timestamp) -> Option<Timestamp> {
        now.checked_sub(SignedDuration::try_from(self.retention?).ok()?).ok()
    }

    /// Returns true if old rows are to be removed now.
    pub fn is_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        let interval = SignedDuration::try_from(self.prune_interval).unwrap_or(SignedDuration::MAX);
        self.retention.is_some() && last.is_none_or(|last| now.duration_since(last) >= interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RunPolicy;

    fn policy(section: &str) -> Result<RunPolicy, PolicyError> {
        RunPolicy::from_yaml(&format!(
            "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nauditStore: {section}\n"
        ))
    }

    #[test]
    fn rows_stay_forever_unless_the_policy_says_how_long() {
        let now: Timestamp = "2026-02-10T00:00:00Z".parse().unwrap();
        let forever = AuditStorePolicy::default();
        assert_eq!((forever.removed_before(now), forever.is_due(None, now)), (None, false));
        let days = policy("{retention: 48h, pruneInterval: 6h}").unwrap().audit_store;
        assert_eq!(days.removed_before(now), "2026-02-08T00:00:00Z".parse().ok());
        let hours_ago = |hours| now.checked_sub(SignedDuration::from_hours(hours)).ok();
        assert!(days.is_due(None, now) && days.is_due(hours_ago(6), now) && !days.is_due(hours_ago(5), now));
    }

    #[test]
    fn a_retention_that_sweeps_cannot_work_with_is_refused() {
        for (section, field) in [
            ("{retention: 23h}", "auditStore.retention"),
            ("{pruneInterval: 30m}", "auditStore.pruneInterval"),
        ] {
            let error = policy(section).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
