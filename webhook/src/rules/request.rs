//! The part of an admission request that the rules use.

use serde::Deserialize;
use serde_json::Value;

/// One of the two calls of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The mutating call: changes the object and never denies.
    Mutate,
    /// The validating call: evaluates the final object and never changes it.
    Validate,
}

impl Entry {
    /// Returns the name for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// The operation on the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Creation.
    Create,
    /// Update.
    Update,
    /// Deletion.
    Delete,
    /// A connection, such as that of `kubectl exec`.
    Connect,
}

impl Operation {
    /// Returns the name in the protocol and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

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
