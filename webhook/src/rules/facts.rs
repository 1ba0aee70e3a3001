//! The facts about the cluster that the rules need in addition to the request.

use std::sync::Arc;

use codex_k8s_shared::quota::Scope;
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;

use super::level_version::{LevelVersion, Version};

/// The facts that the rules need in addition to the request. They are collected before the decision; if one is
/// unavailable, the request fails before any rule is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The time of the decision.
    pub now: Timestamp,
    /// The version of the API server, which knows no later controls of Pod Security.
    pub kubernetes: Version,
    /// The managed namespace that contains the object, if any.
    pub namespace: Option<Arc<ManagedNamespace>>,
    /// The other namespaces that carry the run id of the request's Namespace.
    pub run_holders: Vec<Arc<ManagedNamespace>>,
    /// True if the requester is a ServiceAccount of a managed namespace.
    pub requester_is_managed: bool,
    /// Managed namespaces whose names do not show that they are managed, and whose `ServiceAccounts` are new subjects
    /// of a binding elsewhere.
    pub named: Vec<Box<str>>,
    /// Occupancy of the limited scopes that the request's Namespace would enter; empty if it is in them already.
    pub occupancy: Vec<Occupancy>,
}

impl Facts {
    /// Returns facts with only the time.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            kubernetes: Version::default(),
            namespace: None,
            run_holders: Vec::new(),
            requester_is_managed: false,
            named: Vec::new(),
            occupancy: Vec::new(),
        }
    }
}

/// The cached state of a managed namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedNamespace {
    /// Its name.
    pub name: Box<str>,
    /// Its runtime mode. An unknown label value counts as `code-only`, which grants least.
    pub mode: RuntimeMode,
    /// The value of its run-id label.
    pub run_id: Box<str>,
    /// The value of its project-id label.
    pub project_id: Box<str>,
    /// The user who requested it, if recorded.
    pub requested_by: Option<Box<str>>,
    /// Its correlation-id annotation.
    pub correlation_id: Option<Box<str>>,
    /// The end of its lease, if it has a readable one.
    pub expires_at: Option<Timestamp>,
    /// True if it is being deleted.
    pub terminating: bool,
    /// True if its gate is open: workloads may start.
    pub ready: bool,
    /// The reason why its gate is closed, if the reconciler has reported it.
    pub waits_for: Option<Box<str>>,
    /// The Pod Security level that it enforces.
    pub pod_security: LevelVersion,
}

impl ManagedNamespace {
    /// Returns a slot that is not managed yet. It has no gate, so nothing waits for one.
    pub(crate) fn bare(name: &str) -> Self {
        Self {
            name: name.into(),
            mode: RuntimeMode::FullEnv,
            run_id: Box::default(),
            project_id: Box::default(),
            requested_by: None,
            correlation_id: None,
            expires_at: None,
            terminating: false,
            ready: true,
            waits_for: None,
            pod_security: LevelVersion::default(),
        }
    }
}

/// The number of namespaces in a scope, without the one in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    /// The scope.
    pub scope: Scope,
    /// Its limit.
    pub max: u32,
    /// The namespaces in it.
    pub holders: Holders,
}

/// The managed namespaces of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// The number of namespaces, including those that are being deleted.
    pub held: usize,
    /// The names of at most three namespaces whose leases end first. Empty while the scope has free reservations.
    pub some: Vec<Box<str>>,
    /// The earliest end of their leases.
    pub next_end: Option<Timestamp>,
}

impl Occupancy {
    /// Returns true if the scope has no free reservations.
    pub(super) fn is_full(&self) -> bool {
        usize::try_from(self.max).is_ok_and(|max| self.holders.held >= max)
    }
}

impl Holders {
    /// Returns the number of namespaces and some of their names, for a message.
    pub(super) fn describe(&self, scope: &Scope, max: u32) -> String {
        let kind = scope.kind();
        let some = match self.some.as_slice() {
            [] => String::new(),
            some if some.len() == self.held => format!(": {}", some.join(", ")),
            some => format!(": {} and {} more", some.join(", "), self.held.saturating_sub(some.len())),
        };
        format!("{} run namespaces in this {kind}, whose limit is {max}{some}", self.held)
    }
}
