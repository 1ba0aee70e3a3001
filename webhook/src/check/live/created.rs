//! The users that would create existing objects.

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::super::Requester;
use crate::rules::requester::API_SERVER;

/// The controller for each kind of owner.
const CONTROLLERS: [(&str, &str); 7] = [
    ("CronJob", "cronjob-controller"),
    ("DaemonSet", "daemon-set-controller"),
    ("Deployment", "deployment-controller"),
    ("Job", "job-controller"),
    ("ReplicaSet", "replicaset-controller"),
    ("ReplicationController", "replication-controller"),
    ("StatefulSet", "statefulset-controller"),
];

/// Returns the user who would create an object: the controller that created it, or the given requester, or the
/// requester of the namespace. For a binding outside run namespaces it is a manager, who may bind most.
pub(super) fn creator(
    policy: &RunPolicy,
    object: &Value,
    requested_by: Option<&str>,
    request: Option<&Requester>,
) -> Requester {
    let user = |user: String| Requester { user, groups: Vec::new() };
    if let Some(controller) = controller(object) {
        return user(format!("system:serviceaccount:kube-system:{controller}"));
    }
    if is_built_in(object) {
        return user(API_SERVER.to_owned());
    }
    let manager = || policy.identities.managers.users.first().cloned();
    request.cloned().unwrap_or_else(|| {
        user(requested_by.map(str::to_owned).or_else(manager).unwrap_or_else(|| "developer".to_owned()))
    })
}

fn controller(object: &Value) -> Option<&'static str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    CONTROLLERS.iter().find(|(kind, _)| owner["kind"] == *kind).map(|(_, name)| *name)
}

/// Returns true for an object that kube-apiserver itself creates in every cluster.
fn is_built_in(object: &Value) -> bool {
    object
        .pointer("/metadata/labels/kubernetes.io~1bootstrapping")
        .is_some_and(|value| value == "rbac-defaults")
}
