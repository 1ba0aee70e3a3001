//! What is there, as it would be sent to be created now, and by whom.

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{Lease, LeaseInstant};
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::Requester;
use crate::rules::guard::API_SERVER;

/// What the API server and controllers note in the metadata of an object.
const NOTED: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What the webhook and the reconciler note in the annotations of an object, each at its time.
const ANNOTATED: [&str; 7] = [
    keys::REQUESTED_BY,
    keys::BASELINE_READY_AT,
    keys::BASELINE_HASH,
    keys::BASELINE_WAITS_FOR,
    keys::UNPLACED_SINCE,
    keys::JOB_WAITS_FOR,
    keys::JOB_PLACED_AT,
];

/// The labels that a Job's Pods are found by, which its creation gives them.
const OF_A_JOB: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

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

/// An object as its creator would send it now: without what the API server, the scheduler, controllers, the webhook and
/// the reconciler have noted since, and with a lease that begins now.
#[must_use]
pub fn as_created(mut object: Value, now: Timestamp) -> Value {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(fields) = object.as_object_mut() else { return object };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !NOTED.contains(&key.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !ANNOTATED.contains(&key.as_str()));
            renew(annotations, now);
        }
    }
    match kind.as_str() {
        // The scheduler has written it. That nobody else did, no object can tell.
        "Pod" => drop(object.pointer_mut("/spec").and_then(|spec| spec.as_object_mut()?.remove("nodeName"))),
        "Job" => forget_selector(&mut object),
        _ => {}
    }
    object
}

/// Moves a lease to where it begins now. One that cannot be read stays as it is.
fn renew(annotations: &mut Map<String, Value>, now: Timestamp) {
    let read = |key: &str| annotations.get(key).and_then(Value::as_str);
    let Ok(Some(lease)) = Lease::read(read) else { return };
    let moved = LeaseInstant::from_timestamp(now)
        .and_then(|begin| Some((begin, begin.checked_add(lease.expires_at.since(lease.updated_at)?)?)));
    if let Some((begin, end)) = moved {
        annotations.insert(keys::NAMESPACE_LEASE_UPDATED_AT.to_owned(), begin.to_string().into());
        annotations.insert(keys::NAMESPACE_LEASE_EXPIRES_AT.to_owned(), end.to_string().into());
    }
}

fn forget_selector(job: &mut Value) {
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    spec.remove("selector");
    for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = job.pointer_mut(pointer).and_then(Value::as_object_mut) {
            labels.retain(|key, _| !OF_A_JOB.contains(&key.as_str()));
        }
    }
}

/// Who would create an object: the controller that made it; else whoever is asked about; else whoever the namespace was
/// requested by. A binding outside of run namespaces is taken for a manager's, who may bind most.
pub(super) fn creator(
    policy: &RunPolicy,
    object: &Value,
    home: Option<&str>,
    asked: Option<&Requester>,
) -> Requester {
    let user = |user: String| Requester { user, groups: Vec::new() };
    if let Some(controller) = controller(object) {
        return user(format!("system:serviceaccount:kube-system:{controller}"));
    }
    if is_built_in(object) {
        return user(API_SERVER.to_owned());
    }
    let manager = || policy.identities.managers.users.first().cloned();
    asked.cloned().unwrap_or_else(|| {
        user(home.map(str::to_owned).or_else(manager).unwrap_or_else(|| "developer".to_owned()))
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
