//! How many run namespaces may work at once, and how many agent Jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{Identities, LeasePolicy, go_duration};
use super::{PolicyError, invalid};
use crate::lease::GoDuration;
use crate::sanitize;

/// How many run namespaces and agent Jobs may work at once. `null` takes a limit away; lowering one evicts nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quotas {
    /// In the whole cluster.
    pub cluster: Option<Limit>,
    /// Of each project, by the label `codex-k8s.dev/project-id`.
    pub per_project: Option<ProjectLimit>,
    /// Of each user, by the annotation `codex-k8s.dev/requested-by`. Users of `identities.managers` are exempt, because
    /// the platform requests the namespaces of all its users itself.
    pub per_requester: Option<Limit>,
    /// How many agent Jobs of each project may work at once, by the label `codex-k8s.dev/project-id` of their
    /// namespaces. Those for which there is no place are suspended until there is one.
    pub agent_jobs_per_project: Option<ProjectLimit>,
    /// What is left of the lease of a namespace that got no place, from when it is told so.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub pending_ttl: Duration,
    /// The users whom `perRequester` does not limit: those of `identities.managers`.
    #[serde(skip)]
    pub managers: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The most run namespaces at once; with 0, there is never one.
    pub max: u32,
}

/// A limit for each project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectLimit {
    /// The most at once of a project that is not listed below; with 0, there is never one.
    pub max: u32,
    /// The most of certain projects, by the value of their label.
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
    pub fn of(&self, project: &str) -> u32 {
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
