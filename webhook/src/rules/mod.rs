//! The rules: the required form of a run namespace and an agent Job, and who may change what.
//!
//! [`decide`] is a total function of plain values, including the time. The webhook, the check command, the tests and
//! the benchmarks all call it, so they cannot disagree. It is called twice for a request, because the API server calls
//! the webhook twice: [`Entry::Mutate`] fixes the object and never denies; [`Entry::Validate`] validates the final
//! object and never changes it.
//!
//! On an UPDATE, the rules about the state of an object ignore violations that the old object already had. An object
//! that is older than its rules can therefore always be fixed step by step, and no user is locked out of it. There is
//! one exception: a permission that lets a Pod do more than its namespace allows was granted to the program in it. If
//! an update changes the program, the whole object is evaluated, as if its author had created it.

mod arcs;
mod baseline;
pub mod catalogue;
pub mod contents;
pub mod edits;
mod evaluate;
pub mod example;
pub mod namespace;
pub mod object;
pub mod rbac;
pub mod report;
pub mod requester;
pub mod rule;
pub mod workload;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use edits::Edits;
pub use namespace::{Holders, Occupancy};
pub use object::Meta;
pub use report::{Code, Finding, Report};
pub use requester::{Requester, Role};
pub use rule::{Rule, Subject};

pub use crate::review::{Entry, Operation};

/// The part of an admission request that the rules use.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The operation.
    pub operation: Operation,
    /// The kind of the object.
    pub kind: Kind,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// The object's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// The name of the requester.
    pub user: &'a str,
    /// The groups of the requester.
    pub groups: Vec<&'a str>,
    /// The object as it would be stored; `None` on DELETE.
    pub object: Option<Value>,
    /// The object as it is stored; `None` on CREATE.
    pub old_object: Option<Value>,
}

/// The kinds that have rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A Namespace.
    Namespace,
    /// A batch/v1 Job.
    Job,
    /// A batch/v1 CronJob.
    CronJob,
    /// A Pod.
    Pod,
    /// A Deployment, `StatefulSet`, `DaemonSet`, `ReplicaSet` or `ReplicationController`: a Pod template at
    /// `spec.template` that controllers turn into Pods.
    Template,
    /// A `ControllerRevision`: the template that a `StatefulSet` or `DaemonSet` is rolled back to.
    Revision,
    /// A Binding of a Pod to a node.
    Binding,
    /// A ServiceAccount.
    ServiceAccount,
    /// A Role.
    Role,
    /// A RoleBinding.
    RoleBinding,
    /// A `ClusterRole`.
    ClusterRole,
    /// A `ClusterRoleBinding`.
    ClusterRoleBinding,
    /// A ResourceQuota.
    ResourceQuota,
    /// A LimitRange.
    LimitRange,
    /// A Secret.
    Secret,
    /// A request for a ServiceAccount's token.
    TokenRequest,
}

impl Kind {
    /// Returns the kind for an API group and kind, if there are rules about it.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "Namespace") => Some(Self::Namespace),
            ("batch", "Job") => Some(Self::Job),
            ("batch", "CronJob") => Some(Self::CronJob),
            ("", "Pod") => Some(Self::Pod),
            ("", "Binding") => Some(Self::Binding),
            ("", "ServiceAccount") => Some(Self::ServiceAccount),
            ("", "ResourceQuota") => Some(Self::ResourceQuota),
            ("", "LimitRange") => Some(Self::LimitRange),
            ("", "Secret") => Some(Self::Secret),
            ("rbac.authorization.k8s.io", "Role") => Some(Self::Role),
            ("rbac.authorization.k8s.io", "RoleBinding") => Some(Self::RoleBinding),
            ("rbac.authorization.k8s.io", "ClusterRole") => Some(Self::ClusterRole),
            ("rbac.authorization.k8s.io", "ClusterRoleBinding") => Some(Self::ClusterRoleBinding),
            ("authentication.k8s.io", "TokenRequest") => Some(Self::TokenRequest),
            ("apps", "ControllerRevision") => Some(Self::Revision),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("", "ReplicationController") => Some(Self::Template),
            _ => None,
        }
    }
}

/// The facts that the rules need in addition to the request. They are collected before the decision; if one is
/// unavailable, the request fails before any rule is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The time of the decision.
    pub now: Timestamp,
    /// The managed namespace that contains the object, if any.
    #[serde(with = "arcs::option")]
    pub namespace: Option<Arc<ManagedNamespace>>,
    /// The other namespaces that carry the run id of the request's Namespace.
    #[serde(with = "arcs::list")]
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
            namespace: None,
            run_holders: Vec::new(),
            requester_is_managed: false,
            named: Vec::new(),
            occupancy: Vec::new(),
        }
    }
}

/// The cached state of a managed namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
}

impl ManagedNamespace {
    /// Returns a slot that is not managed yet. It has no gate, so nothing waits for one.
    pub fn bare(name: &str) -> Self {
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
        }
    }
}

/// The result of evaluating a request.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The changes to make before the object is validated.
    pub patch: json_patch::Patch,
    /// All violations, each with the mode of its rule.
    pub findings: Vec<Finding>,
    /// All evaluated rules, with or without violations.
    pub evaluated: Vec<&'static Rule>,
    /// True if the rules apply to the request.
    pub in_scope: bool,
    /// True if the requester is a controller of the cluster.
    pub by_controller: bool,
}

impl Verdict {
    /// Returns the findings that deny the request.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.mode == Mode::Enforce)
    }

    /// Turns all denials into warnings.
    pub fn only_warn(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.mode == Mode::Enforce) {
            finding.mode = Mode::Warn;
        }
    }

    /// Returns true if the request is denied only because it is too early.
    pub fn is_retryable(&self) -> bool {
        !self.is_allowed() && self.denials().all(|finding| finding.code == Code::NotReady)
    }

    /// Returns true if the request is admitted.
    pub fn is_allowed(&self) -> bool {
        self.denials().next().is_none()
    }

    fn out_of_scope() -> Self {
        Self::default()
    }
}

/// Evaluates a request.
pub fn decide(policy: &RunPolicy, facts: &Facts, request: &Request<'_>, entry: Entry) -> Verdict {
    let requester = Requester::classify(policy, facts, request);
    let mut verdict = match request.kind {
        Kind::Namespace => namespace::decide(policy, facts, request, &requester, entry),
        Kind::Job | Kind::CronJob | Kind::Pod | Kind::Template | Kind::Revision | Kind::Binding => {
            workload::decide(policy, facts, request, &requester, entry)
        }
        Kind::ServiceAccount
        | Kind::Role
        | Kind::RoleBinding
        | Kind::ClusterRole
        | Kind::ClusterRoleBinding
        | Kind::ResourceQuota
        | Kind::LimitRange
        | Kind::Secret
        | Kind::TokenRequest => contents::decide(policy, facts, request, &requester, entry),
    };
    if requester.breaks_glass {
        verdict.only_warn();
    }
    verdict.by_controller = requester.is_cluster_controller(policy);
    verdict
}
