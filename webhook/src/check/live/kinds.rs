//! The resources to read from a live cluster: the kinds that have rules.

use kube::api::ApiResource;

use crate::rules::rbac::TOKEN_SECRET;

/// A resource that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The resource.
    pub plural: &'static str,
    /// True if its objects are namespaced.
    pub is_namespaced: bool,
    /// The only value of `type` to list, if it is restricted.
    pub only_type: Option<&'static str>,
}

const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Listed {
    Listed { group, kind, plural, is_namespaced: true, only_type: None }
}

/// All resources except namespaces. Owners come before the objects that they create.
pub const LISTED: [Listed; 16] = [
    namespaced("", "ServiceAccount", "serviceaccounts"),
    namespaced("rbac.authorization.k8s.io", "Role", "roles"),
    namespaced("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
    Listed {
        is_namespaced: false,
        ..namespaced("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings")
    },
    namespaced("", "ResourceQuota", "resourcequotas"),
    namespaced("", "LimitRange", "limitranges"),
    // There are no rules about other Secrets, so they are not read.
    Listed { only_type: Some(TOKEN_SECRET), ..namespaced("", "Secret", "secrets") },
    namespaced("batch", "CronJob", "cronjobs"),
    namespaced("batch", "Job", "jobs"),
    namespaced("apps", "Deployment", "deployments"),
    namespaced("apps", "ReplicaSet", "replicasets"),
    namespaced("apps", "StatefulSet", "statefulsets"),
    namespaced("apps", "DaemonSet", "daemonsets"),
    namespaced("apps", "ControllerRevision", "controllerrevisions"),
    namespaced("", "ReplicationController", "replicationcontrollers"),
    namespaced("", "Pod", "pods"),
];

impl Listed {
    /// Returns its `apiVersion`: all of them are at `v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// Returns the resource for API calls.
    pub(crate) fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}
