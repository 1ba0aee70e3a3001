//! Admission reviews as kube-apiserver sends them.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The worker's namespace and Job of a run in full-env, as the platform sends them.
pub const WORKER_NAMESPACE: &str = include_str!("../fixtures/namespace.yaml");
/// See [`WORKER_NAMESPACE`].
pub const WORKER_JOB: &str = include_str!("../fixtures/job-full-env.yaml");

/// An `AdmissionReview` with its fields in the order in which kube-apiserver writes them.
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

/// The review of a Job that the worker creates. `job` is the object as the API server has defaulted it.
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
    // Maps with string keys only: there is nothing in it that could fail to be written.
    serde_json::to_vec(&review).unwrap_or_default()
}

/// The platform's worker, as a token of its Pod authenticates it.
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

/// A manifest, in another namespace.
///
/// # Errors
/// If it is no YAML, or has no metadata.
pub fn manifest_in(namespace: &str, yaml: &str) -> anyhow::Result<Value> {
    let mut object: Value = serde_saphyr::from_str(yaml)?;
    let meta = object.get_mut("metadata").and_then(Value::as_object_mut).context("no metadata")?;
    meta.insert("namespace".to_owned(), namespace.into());
    Ok(object)
}

/// What the API server makes of a Job before admission: a dry run on a cluster that nobody guards.
///
/// # Errors
/// If the API server refuses it.
pub async fn defaulted_job(control_plane: &ControlPlane, job: &Value) -> anyhow::Result<Value> {
    let client = control_plane.client(&Identity::worker()).await?;
    let namespace = job.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let request = http::Request::post(format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(job)?)?;
    Ok(client.request(request).await?)
}
