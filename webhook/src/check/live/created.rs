//! Who would create what is there.

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::super::Requester;
use crate::rules::guard::API_SERVER;

/// Who makes what a controller makes, by the kind that it is made from.
const CONTROLLERS: [(&str, &str); 7] = [
    ("CronJob", "cronjob-controller"),
    ("DaemonSet", "daemon-set-controller"),
    ("Deployment", "deployment-controller"),
    ("Job", "job-controller"),
    ("ReplicaSet", "replicaset-controller"),
    ("ReplicationController", "replication-controller"),
    ("StatefulSet", "statefulset-controller"),
];

/// Who would create an object: the controller that made it; else whoever is asked about; else whoever the namespace was
/// requested by. A binding outside of run namespaces is taken for a manager's, who may bind most.
pub(super) fn creator(
    policy: &RunPolicy,
    object: &Value,
    own_namespace: Option<&str>,
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
        user(own_namespace.map(str::to_owned).or_else(manager).unwrap_or_else(|| "developer".to_owned()))
    })
}

fn controller(object: &Value) -> Option<&'static str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    CONTROLLERS.iter().find(|(kind, _)| owner["kind"] == *kind).map(|(_, name)| *name)
}

/// What kube-apiserver itself puts into every cluster.
fn is_built_in(object: &Value) -> bool {
    object
        .pointer("/metadata/labels/kubernetes.io~1bootstrapping")
        .is_some_and(|value| value == "rbac-defaults")
}
