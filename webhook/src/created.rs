//! Existing objects as their creators would send them now, for the live check and for the inspection of a namespace
//! before its gate opens.

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{Lease, LeaseInstant};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The metadata fields that the API server and controllers set.
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

/// The annotations that the webhook and the reconciler set.
const ANNOTATED: [&str; 7] = [
    keys::REQUESTED_BY,
    keys::BASELINE_READY_AT,
    keys::BASELINE_HASH,
    keys::BASELINE_WAITS_FOR,
    keys::QUOTA_PENDING_SINCE,
    keys::JOB_PENDING_REASON,
    keys::JOB_ADMITTED_AT,
];

/// The labels by which a Job finds its Pods. They are set at its creation.
const OF_A_JOB: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

/// Returns an object as its creator would send it now: without the fields that the API server, the scheduler,
/// controllers, the webhook and the reconciler have set since, and with a lease that begins now.
#[must_use]
pub fn as_created(mut object: Value, now: Timestamp) -> Value {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(fields) = object.as_object_mut() else { return object };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        // Those of a Pod also say which fields the plug-ins of the API server have set.
        let is_read = |key: &str| key == "managedFields" && kind == "Pod";
        metadata.retain(|key, _| !NOTED.contains(&key.as_str()) || is_read(key));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !ANNOTATED.contains(&key.as_str()));
            renew(annotations, now);
        }
    }
    match kind.as_str() {
        // The scheduler has set it. The object cannot show if another user did.
        "Pod" => drop(object.pointer_mut("/spec").and_then(|spec| spec.as_object_mut()?.remove("nodeName"))),
        "Job" => remove_selector(&mut object),
        _ => {}
    }
    object
}

/// Moves the beginning of a lease to now. An unreadable lease is not changed.
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

fn remove_selector(job: &mut Value) {
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
