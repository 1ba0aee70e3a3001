//! Limits on concurrent run namespaces and agent Jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{Identities, LeasePolicy, go_duration};
use super::{PolicyError, invalid};
use crate::lease::GoDuration;
use crate::sanitize;

/// Limits on concurrent run namespaces and agent Jobs. `null` removes a limit. Lowering a limit does not evict
/// anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quotas {
    /// The limit in the whole cluster.
    pub cluster: Option<Limit>,
    /// The limit of each project, by the label `codex-k8s.dev/project-id`.
    pub per_project: Option<ProjectLimit>,
    /// The limit of each user, by the annotation `codex-k8s.dev/requested-by`. Users of `identities.managers` are
    /// exempt, because the platform requests the namespaces of all its users itself.
    pub per_requester: Option<Limit>,
    /// The limit on concurrent agent Jobs of each project, by the label `codex-k8s.dev/project-id` of their
    /// namespaces. Agent Jobs without a reservation are suspended until they have one.
    pub agent_jobs_per_project: Option<ProjectLimit>,
    /// The remaining lease of a namespace that is pending, counted from when its requester is notified.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub pending_ttl: Duration,
    /// The users that `perRequester` does not limit: those of `identities.managers`.
    #[serde(skip)]
    pub managers: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The maximum number of concurrent run namespaces. With 0, none is admitted.
    pub max: u32,
}

/// A limit for each project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectLimit {
    /// The maximum for projects that are not listed in `overrides`. With 0, none is admitted.
    pub max: u32,
    /// The maximum for individual projects, by the value of their label.
    #[serde(default)]
    pub overrides: BTreeMap<String, u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            cluster: Some(Limit { max: 1000 }),
            per_project: Some(ProjectLimit { max: 250, overrides: BTreeMap::new() }),
            per_requester: Some(Limit { max: 25 }),
            agent_jobs_per_project: None,
            pending_ttl: Duration::from_mins(15),
            managers: Identities::default().managers.users,
        }
    }
}

impl Quotas {
    pub(super) fn check(&self, lease: &LeasePolicy) -> Result<(), PolicyError> {
        if self.pending_ttl < lease.min_ttl || self.pending_ttl > lease.max_ttl {
            let go = |duration| GoDuration::from(duration).to_string();
            let (found, min, max) = (go(self.pending_ttl), go(lease.min_ttl), go(lease.max_ttl));
            let problem = format!(
                "found {found}; expected lease.minTtl ({min}) at least and lease.maxTtl ({max}) at most"
            );
            return Err(invalid("quotas.pendingTtl", problem));
        }
        check_overrides("perProject", self.per_project.as_ref())?;
        check_overrides("agentJobsPerProject", self.agent_jobs_per_project.as_ref())
    }
}

impl ProjectLimit {
    /// The limit of a project.
    pub(crate) fn of(&self, project: &str) -> u32 {
        self.overrides.get(project).copied().unwrap_or(self.max)
    }
}

fn check_overrides(name: &str, limit: Option<&ProjectLimit>) -> Result<(), PolicyError> {
    let mut overrides = limit.into_iter().flat_map(|limit| limit.overrides.keys());
    match overrides.find(|project| !sanitize::is_label(project)) {
        None => Ok(()),
        Some(project) => {
            let field = format!("quotas.{name}.overrides[{project:?}]");
            let label = sanitize::sanitize_label(project);
            let problem = format!("no project's label has this value; {project:?} is labelled {label:?}");
            Err(invalid(&field, problem))
        }
    }
}
