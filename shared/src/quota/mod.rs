//! Reservations: the units that a namespace or an agent Job uses in each scope that a policy limits.
//!
//! Nothing is counted here. A scope has a display name, and a stem for the names of its reservations: programs that
//! derive them from the same namespace get the same names.

pub mod fit;
pub mod pod_resources;
pub mod quantity;
mod resource_name;
pub mod validity;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::Quotas;
use crate::sanitize::{UNKNOWN, sanitize_label};

/// A scope: everything that one limit counts together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// All run namespaces of the cluster.
    Cluster,
    /// The namespaces of a project: the value of the label `codex-k8s.dev/project-id`.
    Project(Box<str>),
    /// The namespaces that one user created: the value of the annotation `codex-k8s.dev/requested-by`.
    Requester(Box<str>),
    /// The agent Jobs in the namespaces of a project.
    AgentJobs(Box<str>),
}

/// The prefix of the names of reservations.
const PREFIX: &str = "reservation-";

/// A reservation, parsed from its name: the stem of its scope, and a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The stem of the scope.
    pub stem: String,
    /// The number, from 0.
    pub number: u32,
}

/// Label of a reservation of a namespace: the kind of its scope.
pub const RESERVATION: &str = "guard.codex-k8s.dev/reservation";
/// Label of a reservation of a namespace: the uid of the namespace that holds it.
pub const NAMESPACE_UID: &str = "guard.codex-k8s.dev/namespace-uid";
/// Label of a reservation of an agent Job: the kind of its scope. Differs from [`RESERVATION`], so that a reconciler
/// that only supports namespaces ignores these reservations.
pub const JOB_RESERVATION: &str = "guard.codex-k8s.dev/job-reservation";
/// Label of a reservation of an agent Job: the uid of the Job that holds it.
pub const JOB_UID: &str = "guard.codex-k8s.dev/job-uid";

/// The reservation that an agent Job waits for before the reconciler has tried to reserve it: the value of the
/// annotation `codex-k8s.dev/job-pending-reason` at its creation.
pub const PENDING_REASON_AT_CREATION: &str = "a quota reservation among the agent Jobs of its project";

impl Scope {
    /// The kinds of scopes, which are the prefixes of their stems.
    pub const KINDS: [&str; 4] = ["cluster", "project", "requester", "agent-jobs"];

    /// The scopes of a namespace, widest first. All namespaces without a project or requester share one scope of that
    /// kind.
    pub fn of(project: Option<&str>, requester: Option<&str>) -> [Self; 3] {
        [Self::Cluster, Self::Project(or_unknown(project)), Self::Requester(or_unknown(requester))]
    }

    /// The scope of the agent Jobs in a namespace of a project.
    pub fn of_jobs(project: Option<&str>) -> Self {
        Self::AgentJobs(or_unknown(project))
    }

    /// The kind of scope, as one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Project(_) => "project",
            Self::Requester(_) => "requester",
            Self::AgentJobs(_) => "agent-jobs",
        }
    }

    /// The stem of the names of its reservations: a DNS label that no other scope has. A hash stands for the
    /// characters that a name cannot contain.
    pub fn stem(&self) -> String {
        const LONGEST: usize = 30;
        let (Self::Project(of) | Self::Requester(of) | Self::AgentJobs(of)) = self else {
            return self.kind().to_owned();
        };
        let clean = sanitize_label(of);
        let cut = clean.get(..LONGEST).unwrap_or(&clean).trim_end_matches('-');
        let digest = Sha256::digest(of.as_bytes());
        let [a, b, c, d, ..] = digest.as_slice() else { return self.kind().to_owned() };
        format!("{}-{cut}-{a:02x}{b:02x}{c:02x}{d:02x}", self.kind())
    }

    /// The reservation that a namespace or Job needs in this scope, as a message.
    pub fn needed(&self, max: u32) -> String {
        let within = if matches!(self, Self::AgentJobs(_)) { "among" } else { "in" };
        format!("a quota reservation {within} {self}, whose limit is {max}")
    }
}

impl Id {
    /// Parses the name of a reservation's Lease.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, number) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
        let id = Self { stem: stem.to_owned(), number: number.parse().ok()? };
        (id.to_string() == name && !stem.is_empty()).then_some(id)
    }

    /// The kind of the scope.
    pub fn kind(&self) -> &'static str {
        Scope::KINDS
            .into_iter()
            .find(|kind| self.stem.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-')))
            .unwrap_or("cluster")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}-{}", self.stem, self.number)
    }
}

fn or_unknown(value: Option<&str>) -> Box<str> {
    value.filter(|value| !value.is_empty()).unwrap_or(UNKNOWN).into()
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => out.write_str("the cluster"),
            Self::Project(of) => write!(out, "project {of}"),
            Self::Requester(of) => write!(out, "requester {of}"),
            Self::AgentJobs(of) => write!(out, "the agent Jobs of project {of}"),
        }
    }
}

impl Quotas {
    /// The limit of a scope; `None` if there is none.
    pub fn limit(&self, scope: &Scope) -> Option<u32> {
        match scope {
            Scope::Cluster => self.cluster.map(|limit| limit.max),
            Scope::Project(of) => self.per_project.as_ref().map(|limit| limit.of(of)),
            Scope::AgentJobs(of) => self.agent_jobs_per_project.as_ref().map(|limit| limit.of(of)),
            Scope::Requester(of) if self.managers.iter().any(|manager| **manager == **of) => None,
            Scope::Requester(_) => self.per_requester.map(|limit| limit.max),
        }
    }

    /// Returns true if any scope of namespaces is limited.
    pub const fn is_on(&self) -> bool {
        self.cluster.is_some() || self.per_project.is_some() || self.per_requester.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_names_that_no_two_scopes_share() {
        let user = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
        let scopes = [
            Scope::Cluster,
            Scope::Project("p1".into()),
            Scope::Requester("p1".into()),
            Scope::Requester(user.into()),
            Scope::Requester(format!("{user}-2").into()),
            Scope::Requester("Jane".into()),
            Scope::Requester("jane".into()),
            Scope::Requester("\u{416}".into()),
            Scope::AgentJobs("p1".into()),
            Scope::AgentJobs("P1".into()),
            Scope::AgentJobs("p1-p1-p1-p1-p1-p1-p1-p1-p1-p1-p1-p1-p1-p1".into()),
        ];
        let stems: std::collections::BTreeSet<_> = scopes.iter().map(Scope::stem).collect();
        assert_eq!(stems.len(), scopes.len(), "{stems:?}");
        for stem in &stems {
            assert!(crate::sanitize::is_label(stem) && stem.len() <= 50, "{stem}");
        }
        assert_eq!(Scope::Project("p1".into()).stem(), "project-p1-f64551fc");
    }

    #[test]
    fn a_namespace_that_does_not_say_whose_it_is_is_counted_all_the_same() {
        let [_, project, requester] = Scope::of(None, Some(""));
        assert_eq!(
            (project, requester),
            (Scope::Project("unknown".into()), Scope::Requester("unknown".into()))
        );
        assert_eq!(Scope::of_jobs(None), Scope::AgentJobs("unknown".into()));
    }

    #[test]
    fn the_name_of_a_reservation_says_which_it_is() {
        for name in [
            "reservation-cluster-7",
            "reservation-project-p-1-f64551fc-0",
            "reservation-requester-jane-aa-4294967295",
        ] {
            assert_eq!(Id::parse(name).unwrap().to_string(), name);
        }
        for (name, kind) in [
            ("reservation-cluster-3", "cluster"),
            ("reservation-project-p1-f64551fc-3", "project"),
            ("reservation-agent-jobs-p1-f64551fc-3", "agent-jobs"),
        ] {
            assert_eq!(Id::parse(name).unwrap().kind(), kind);
        }
        for name in [
            "codex-k8s-reconcile",
            "reservation-cluster-07",
            "reservation-cluster-",
            "reservation--1",
            "reservation-cluster-x",
        ] {
            assert_eq!(Id::parse(name), None, "{name}");
        }
    }
}
