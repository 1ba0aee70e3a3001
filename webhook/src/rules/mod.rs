//! The rules: what a run namespace and an agent Job must look like, and who may change what.
//!
//! [`decide`] is a total function over plain values, the clock among them. The webhook, the check command, the
//! tests and the benchmarks all call it, which is why they cannot disagree. It is called twice for a request, as
//! the API server calls us twice: [`Entry::Mutate`] fixes what is missing and refuses nothing;
//! [`Entry::Validate`] evaluates the final object and changes nothing.
//!
//! On an UPDATE, a rule about the state of an object speaks only of what the update broke: whatever was already
//! so in the old object is not held against the new one. An object that is older than its rules can always be
//! fixed step by step, and nobody is locked out of it.
//! One thing is not inherited: what lets a Pod do more than its namespace was granted to the program in it, so that
//! whoever puts another program there is evaluated as its creator is.

mod arcs;
pub mod catalogue;
pub mod edits;
pub mod example;
pub mod guard;
pub mod namespace;
pub mod object;
pub mod report;
pub mod requester;
pub mod workload;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use catalogue::{Check, Rule, Subject};
pub use edits::Edits;
pub use namespace::{Holders, Occupancy};
pub use object::Meta;
pub use report::{Code, Finding, Report};
pub use requester::{Requester, Role};

pub use crate::review::{Entry, Operation};

/// A request, as far as a rule can see it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is being done.
    pub operation: Operation,
    /// What it is being done to.
    pub kind: Kind,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// The object's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// The groups of who asks.
    pub groups: Vec<&'a str>,
    /// The object as it would be stored; `None` on DELETE.
    pub object: Option<Value>,
    /// The object as it is stored; `None` on CREATE.
    pub old_object: Option<Value>,
}

/// The kinds that the rules know.
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
    /// The kind that an API group and kind name, if the rules know it.
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

/// What the rules must know beyond the request. Gathered before the decision; a fact that could not be had ends
/// the request before any rule is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The time of the decision.
    pub now: Timestamp,
    /// The managed namespace that the object lies in; `None` if it lies in none.
    #[serde(with = "arcs::option")]
    pub namespace: Option<Arc<ManagedNamespace>>,
    /// The other namespaces that carry the run id of the request's Namespace.
    #[serde(with = "arcs::list")]
    pub run_holders: Vec<Arc<ManagedNamespace>>,
    /// Whether who asks is a ServiceAccount of a managed namespace.
    pub requester_is_managed: bool,
    /// The managed namespaces whose names tell nothing, and whose `ServiceAccounts` a binding elsewhere newly names.
    pub named: Vec<Box<str>>,
    /// How full the limited scopes are that the request's Namespace would come into; empty if it is in them already.
    pub occupancy: Vec<Occupancy>,
}

impl Facts {
    /// No facts but the time.
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

/// What is known of a managed namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNamespace {
    /// Its name.
    pub name: Box<str>,
    /// Its runtime mode; a label of another value reads as `code-only`, which grants least.
    pub mode: RuntimeMode,
    /// The value of its run-id label.
    pub run_id: Box<str>,
    /// The value of its project-id label.
    pub project_id: Box<str>,
    /// The user that it was created for, where that is known.
    pub requested_by: Option<Box<str>>,
    /// Its correlation-id annotation.
    pub correlation_id: Option<Box<str>>,
    /// When its lease ends, if it has a lease that can be read.
    pub expires_at: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether its baseline is live: workloads may start.
    pub ready: bool,
    /// What its baseline waits for, where the reconciler has said so.
    pub waits_for: Option<Box<str>>,
}

impl ManagedNamespace {
    /// A slot that is not managed yet. Its gate is not closed, because there is none.
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

/// What came of a request.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is to be changed before the object is evaluated.
    pub patch: json_patch::Patch,
    /// Every rule that was broken, with its mode.
    pub findings: Vec<Finding>,
    /// The rules that were asked, whatever they found.
    pub evaluated: Vec<&'static Rule>,
    /// Whether the request was any of our business.
    pub in_scope: bool,
    /// Whether a controller of the cluster asked.
    pub by_controller: bool,
}

impl Verdict {
    /// The findings that refuse the request.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.mode == Mode::Enforce)
    }

    /// Turns what would refuse the request into warnings.
    pub fn only_warn(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.mode == Mode::Enforce) {
            finding.mode = Mode::Warn;
        }
    }

    /// Whether all that is wrong with the request is that it comes too early.
    pub fn is_retryable(&self) -> bool {
        !self.is_allowed() && self.denials().all(|finding| finding.code == Code::NotReady)
    }

    /// Whether the request passes.
    pub fn is_allowed(&self) -> bool {
        self.denials().next().is_none()
    }

    fn out_of_scope() -> Self {
        Self::default()
    }
}

/// Decides a request.
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
        | Kind::TokenRequest => guard::decide(policy, facts, request, &requester, entry),
    };
    if requester.breaks_glass {
        verdict.only_warn();
    }
    verdict.by_controller = requester.is_cluster_controller(policy);
    verdict
}

/// The mode of a rule under a policy.
pub fn mode(policy: &RunPolicy, rule: &Rule) -> Mode {
    if policy.rules.is_empty() {
        return rule.default_mode;
    }
    policy.rules.get(rule.id).copied().unwrap_or(rule.default_mode)
}
