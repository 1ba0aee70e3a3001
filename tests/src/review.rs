//! Admission reviews like those of kube-apiserver.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The Namespace of a `full-env` run, as the platform's worker sends it.
pub const WORKER_NAMESPACE: &str = include_str!("../fixtures/namespace.yaml");
/// The Job of a `full-env` run, as the platform's worker sends it.
pub const WORKER_JOB: &str = include_str!("../fixtures/job-full-env.yaml");

/// An `AdmissionReview` with its fields in the order of kube-apiserver.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: &'static str,
    request: Request<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the protocol's own names")]
struct Request<'a> {
    uid: &'a str,
    kind: Value,
    resource: Value,
    request_kind: Value,
    request_resource: Value,
    name: Option<&'a Value>,
    namespace: Option<&'a Value>,
    operation: &'static str,
    user_info: Value,
    object: &'a Value,
    old_object: Option<&'a Value>,
    dry_run: bool,
    options: Value,
}

/// Returns the review of the creation of a Job by the worker. `job` is the object with the defaults of the API server.
pub fn job_creation(uid: &str, job: &Value) -> Vec<u8> {
    let kind = || json!({"group": "batch", "version": "v1", "kind": "Job"});
    let resource = || json!({"group": "batch", "version": "v1", "resource": "jobs"});
    let request = Request {
        uid,
        kind: kind(),
        resource: resource(),
        request_kind: kind(),
        request_resource: resource(),
        name: job.pointer("/metadata/name"),
        namespace: job.pointer("/metadata/namespace"),
        operation: "CREATE",
        user_info: worker(),
        object: job,
        old_object: None,
        dry_run: false,
        options: json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "worker"}),
    };
    let review = Review { kind: "AdmissionReview", api_version: "admission.k8s.io/v1", request };
    // Cannot fail: all maps have string keys.
    serde_json::to_vec(&review).unwrap_or_default()
}

/// Returns the platform's worker, authenticated by a token of its Pod.
fn worker() -> Value {
    json!({
        "username": "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker",
        "uid": "9f3a52c6-5d8e-4a11-9a57-0c5a2a3c1f00",
        "groups": [
            "system:serviceaccounts",
            "system:serviceaccounts:codex-k8s-ai-staging",
            "system:authenticated",
        ],
        "extra": {
            "authentication.kubernetes.io/credential-id": ["JTI=4dd1c0c5-7d53-4cf8-8d1b-0c5f0d1c9a11"],
            "authentication.kubernetes.io/pod-name": ["codex-k8s-worker-6c5d8f7b9-x2x7q"],
            "authentication.kubernetes.io/pod-uid": ["b4c4f8e0-2f9b-4b52-8d3e-1d1f5a0f7e21"],
        },
    })
}

/// Returns a manifest in another namespace.
///
/// # Errors
/// Returns an error if the manifest is not valid YAML, or has no metadata.
pub fn manifest_in(namespace: &str, yaml: &str) -> anyhow::Result<Value> {
    let mut object: Value = serde_saphyr::from_str(yaml)?;
    let meta = object.get_mut("metadata").and_then(Value::as_object_mut).context("no metadata")?;
    meta.insert("namespace".to_owned(), namespace.into());
    Ok(object)
}

/// Returns a Job with the defaults of the API server, from a dry run on a cluster without the webhook.
///
/// # Errors
/// Returns an error if the API server refuses the Job.
pub async fn defaulted_job(control_plane: &ControlPlane, job: &Value) -> anyhow::Result<Value> {
    let client = control_plane.client(&Identity::worker()).await?;
    let namespace = job.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let request = http::Request::post(format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(job)?)?;
    Ok(client.request(request).await?)
}
