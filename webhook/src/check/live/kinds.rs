//! What is read of a live cluster: the kinds that the rules know.

use kube::api::ApiResource;

use crate::rules::guard::TOKEN_SECRET;

/// A resource that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The resource.
    pub plural: &'static str,
    /// Whether its objects lie in namespaces.
    pub is_namespaced: bool,
    /// The one value of `type` that is asked for.
    pub only_type: Option<&'static str>,
}

const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Listed {
    Listed { group, kind, plural, is_namespaced: true, only_type: None }
}

/// All of them but the namespaces, whoever makes others before those that it makes.
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
    // No other Secret is any rule's business, and so none is read.
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
    /// Its `apiVersion`: all of them are at `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// How it is spoken of to the API server.
    pub fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}
