//! The deletion of expired namespaces, and its safeguards.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{go_duration, go_duration_option};
use super::{PolicyError, invalid};
use crate::run::RuntimeMode;

/// The conditions under which the garbage collector deletes namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cleanup {
    /// Enables deletions. If false, sweeps delete nothing.
    pub enabled: bool,
    /// The time between the end of a lease and the deletion.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// The time after lease, retention and hold during which everything that may still run retains a namespace. After
    /// that, only scheduled Pods do: a suspended Job, or a Pod that fits no node, does not retain it any longer.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub work_grace: Duration,
    /// The handling of namespaces whose lease is missing or cannot be read.
    pub missing_lease: MissingLease,
    /// The handling of namespaces whose run is not in the platform's database.
    pub unknown_run: UnknownRun,
    /// The handling of namespaces that cannot be proven to have been created through the webhook, because they are
    /// older than it.
    pub unverified_origin: UnverifiedOrigin,
    /// The latest end of a hold that a person sets, counted from now.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_hold: Duration,
    /// The latest end of a hold, counted from the creation of the namespace. Renewals cannot exceed it, except by a
    /// manager.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_hold_lifetime: Duration,
    /// The retention of run namespaces after their run, by mode and outcome.
    pub retention: Retentions,
    /// The circuit breaker of a sweep.
    pub breaker: Breaker,
    /// The maximum number of concurrent deletions.
    pub concurrency: u16,
    /// The time that a sweep waits for a namespace to be gone before it reports what blocks the deletion.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub wait_for_gone: Duration,
}

/// The handling of namespaces whose lease is missing or cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MissingLease {
    /// Retain the namespace, and report it.
    #[default]
    Retain,
    /// Assume a lease that began at the creation of the namespace, with the time to live of its role, as the platform
    /// does.
    UseAge,
}

/// The handling of namespaces whose run is not in the platform's database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnknownRun {
    /// Retain the namespace, and report it.
    #[default]
    Retain,
    /// Assume that the run has ended, as the platform does.
    Finished,
}

/// The handling of namespaces that cannot be proven to have been created through the webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnverifiedOrigin {
    /// Retain the namespace, and report it.
    #[default]
    Retain,
    /// Trust the labels of the namespace.
    TrustLabels,
}

/// The retention of run namespaces, by mode and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retentions {
    /// The retention of run namespaces in `full-env`, including slots.
    pub full_env: ByOutcome,
    /// The retention of run namespaces in `code-only`.
    pub code_only: ByOutcome,
}

/// The retention of run namespaces by the outcome of their run. Outcomes are only available from the platform's
/// database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ByOutcome {
    /// The retention if the run succeeded.
    pub succeeded: Retention,
    /// The retention if the run failed.
    pub failed: Retention,
    /// The retention if the run was canceled.
    pub canceled: Retention,
}

/// The retention of a run namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// The time that the namespace stays after the end of its lease, for example to investigate a failure.
    #[serde(with = "go_duration_option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after_lease: Option<Duration>,
    /// The time that the namespace stays after the end of its run, even if its lease has not ended. The platform's
    /// release A behaves like `1s`. If set, the webhook allows the garbage collector to delete namespaces whose lease
    /// has not ended.
    #[serde(with = "go_duration_option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after_finish: Option<Duration>,
}

/// The limits beyond which a sweep does not delete namespaces that are not due by their own lease, until an operator
/// has intervened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// The maximum number of namespaces that one sweep deletes. If more are due by their own leases, the rest waits
    /// for the next sweep; if more are due for other reasons, the breaker trips.
    pub max_deletions: u32,
    /// The maximum share of all managed namespaces that may be due for reasons other than their own lease, in
    /// percent.
    pub max_share_percent: u8,
    /// The number of namespaces below which `maxSharePercent` is ignored.
    pub min_for_share: u32,
    /// The maximum number of namespaces that may be due for reasons other than their own lease: this multiple of the
    /// number in the last sweep, plus `minForShare`.
    pub max_growth_factor: u32,
    /// The maximum difference between the local clock and the clock of the API server.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_clock_skew: Duration,
}

impl Default for Cleanup {
    fn default() -> Self {
        Self {
            enabled: true,
            grace: Duration::from_mins(5),
            work_grace: Duration::from_hours(24),
            missing_lease: MissingLease::Retain,
            unknown_run: UnknownRun::Retain,
            unverified_origin: UnverifiedOrigin::Retain,
            max_hold: Duration::from_hours(24 * 7),
            // As long as anyone but a manager may extend a lease, plus one hold.
            max_hold_lifetime: Duration::from_hours(24 * 37),
            retention: Retentions::default(),
            breaker: Breaker::default(),
            concurrency: 4,
            wait_for_gone: Duration::from_mins(2),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            max_deletions: 200,
            max_share_percent: 50,
            min_for_share: 20,
            max_growth_factor: 10,
            max_clock_skew: Duration::from_secs(30),
        }
    }
}

impl Retentions {
    /// The retention of a mode.
    pub(crate) const fn of(&self, mode: RuntimeMode) -> &ByOutcome {
        match mode {
            RuntimeMode::FullEnv => &self.full_env,
            RuntimeMode::CodeOnly => &self.code_only,
        }
    }

    /// Returns true if any namespace may be deleted before its lease ends.
    pub fn any_after_finish(&self) -> bool {
        [&self.full_env, &self.code_only]
            .into_iter()
            .flat_map(|mode| [mode.succeeded, mode.failed, mode.canceled])
            .any(|retention| retention.after_finish.is_some())
    }
}

impl Cleanup {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.concurrency == 0 || self.concurrency > 64 {
            let problem = format!("found {}; expected 1 to 64", self.concurrency);
            return Err(invalid("cleanup.concurrency", problem));
        }
        let share = self.breaker.max_share_percent;
        if share > 100 {
            let problem = format!("found {share}; expected a percentage, 100 at most");
            return Err(invalid("cleanup.breaker.maxSharePercent", problem));
        }
        if self.breaker.max_growth_factor == 0 {
            return Err(invalid("cleanup.breaker.maxGrowthFactor", "found 0; expected 1 or more"));
        }
        if self.max_hold_lifetime < self.max_hold {
            return Err(invalid("cleanup.maxHoldLifetime", "is shorter than cleanup.maxHold"));
        }
        // The API server reports whole seconds only.
        if self.breaker.max_clock_skew < Duration::from_secs(2) {
            return Err(invalid(
                "cleanup.breaker.maxClockSkew",
                "is shorter than 2s, which is how exactly it can be known",
            ));
        }
        Ok(())
    }
}
