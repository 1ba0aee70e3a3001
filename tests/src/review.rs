//! Admission reviews as kube-apiserver sends them.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The worker's namespace and Job of a run in full-env, as the platform sends them.
pub const WORKER_NAMESPACE: &str = include_str!("../fixtures/namespace.yaml");
/// See [`WORKER_NAMESPACE`].
pub const WORKER_JOB: &str = include_str!("../fixtures/job-full-env.yaml");

/// The review of a Job that the worker creates. `job` is the object as the API server has defaulted it.
pub fn job_creation(uid: &str, job: &Value) -> Value {
    let worker = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
    let kind = json!({"group": "batch", "version": "v1", "kind": "Job"});
    let resource = json!({"group": "batch", "version": "v1", "resource": "jobs"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": job.pointer("/metadata/name"),
            "namespace": job.pointer("/metadata/namespace"),
            "operation": "CREATE",
            "userInfo": {
                "username": worker,
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
            },
            "object": job,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "worker"},
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
