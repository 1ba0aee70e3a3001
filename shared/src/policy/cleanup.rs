//! Which expired namespaces are deleted, and how carefully.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{go_duration, go_duration_option};
use super::{PolicyError, invalid};
use crate::run::RuntimeMode;

/// What the garbage collector may delete, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cleanup {
    /// Whether anything is deleted at all.
    pub enabled: bool,
    /// How long after the end of its lease a namespace is still left alone.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// How long after lease, retention and hold everything that may still come to work keeps a namespace. After that
    /// only scheduled Pods do: a suspended Job or a Pod that fits no node keeps it no longer.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub work_grace: Duration,
    /// What becomes of a namespace whose lease is missing or cannot be read.
    pub missing_lease: MissingLease,
    /// What becomes of a namespace whose run the platform's database does not know.
    pub unknown_run: UnknownRun,
    /// What becomes of a namespace of which nothing proves that it was born managed: it is older than the webhook.
    pub unverified_origin: UnverifiedOrigin,
    /// How far ahead of now a person's hold may end.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_hold: Duration,
    /// How long after a namespace's creation a hold may end, unless a manager sets it: no renewal goes beyond.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_hold_lifetime: Duration,
    /// How long run namespaces stay after their run, by mode and outcome.
    pub retention: Retentions,
    /// When a sweep refuses to delete anything.
    pub breaker: Breaker,
    /// Deletions that are under way at a time.
    pub concurrency: u16,
    /// How long a sweep waits for a namespace to be gone before it tells what blocks it.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub wait_for_gone: Duration,
}

/// What becomes of a namespace whose lease is missing or cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MissingLease {
    /// It is kept, and reported.
    #[default]
    Retain,
    /// Its lease is taken to have begun at its creation, with the time to live of its role: as the platform does.
    UseAge,
}

/// What becomes of a namespace whose run the platform's database does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnknownRun {
    /// It is kept, and reported.
    #[default]
    Retain,
    /// The run is taken to have ended: as the platform does.
    Finished,
}

/// What becomes of a namespace of which nothing proves that it was born managed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnverifiedOrigin {
    /// It is kept, and reported.
    #[default]
    Retain,
    /// Its labels are believed.
    TrustLabels,
}

/// How long run namespaces stay, by mode and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retentions {
    /// Run namespaces in `full-env`, slots among them.
    pub full_env: ByOutcome,
    /// Run namespaces in `code-only`.
    pub code_only: ByOutcome,
}

/// How long a run namespace stays, by what became of its run. Outcomes are only known with the platform's database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ByOutcome {
    /// The run succeeded.
    pub succeeded: Retention,
    /// The run failed.
    pub failed: Retention,
    /// The run was canceled.
    pub canceled: Retention,
}

/// How long a run namespace stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// How long beyond the end of its lease; to look into what failed.
    #[serde(with = "go_duration_option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after_lease: Option<Duration>,
    /// How long after the end of its run, even if the lease lives on. `1s` is what the platform does at A. The
    /// webhook then lets the garbage collector delete namespaces whose leases live.
    #[serde(with = "go_duration_option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after_finish: Option<Duration>,
}

/// When a sweep refuses to delete what is not due by its own lease: an operator has to look first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// The most namespaces that one sweep deletes. More that are due by their own leases wait for the next sweep; more
    /// that are due by anything else are refused.
    pub max_deletions: u32,
    /// The largest share of all managed namespaces that may be due by anything but their own leases, in percent.
    pub max_share_percent: u8,
    /// Below so many deletions the share does not matter.
    pub min_for_share: u32,
    /// How many times as many as the last sweep found, beyond `minForShare`, may be due by anything but their own leases.
    pub max_growth_factor: u32,
    /// How far our clock may be from the API server's.
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
            // As long as anyone may extend a lease, and one hold more.
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
    /// The retentions of a mode.
    pub const fn of(&self, mode: RuntimeMode) -> &ByOutcome {
        match mode {
            RuntimeMode::FullEnv => &self.full_env,
            RuntimeMode::CodeOnly => &self.code_only,
        }
    }

    /// Whether any namespace may go while its lease lives.
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
        // The API server tells whole seconds only.
        if self.breaker.max_clock_skew < Duration::from_secs(2) {
            return Err(invalid(
                "cleanup.breaker.maxClockSkew",
                "is shorter than 2s, which is how exactly it can be known",
            ));
        }
        Ok(())
    }
}
