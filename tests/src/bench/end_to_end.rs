//! Creations of Jobs through kube-apiserver: without a webhook, with two calls to the empty echo, and with our webhook.

use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::server::Echo;
use crate::guard::Guard;
use crate::identity::Identity;
use crate::review;

/// The namespace without a webhook.
pub(super) const PLAIN: &str = "bench-plain";
/// The namespace with two calls to the empty echo.
pub(super) const FLOOR: &str = "bench-floor";

const WEBHOOK: &str = "floor.bench.example";
const CREATES: usize = 600;

pub(super) async fn create_namespace(client: &Client, namespace: &Value) -> anyhow::Result<()> {
    let namespace: Namespace = serde_json::from_value(namespace.clone())?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Gives the worker all rights, because its own rights are not measured.
pub(super) async fn let_worker_in(client: &Client) -> anyhow::Result<()> {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "bench-worker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "codex-k8s-worker", "namespace": "codex-k8s-ai-staging"}],
    }))?;
    Api::<ClusterRoleBinding>::all(client.clone()).create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// Measures the creations by turns, after both webhooks are being called.
pub(super) async fn measure(
    guard: &Guard,
    echo: &Echo,
    guarded: &str,
) -> anyhow::Result<Vec<(&'static str, Vec<Duration>)>> {
    let client = guard.control_plane.client(&Identity::Admin).await?;
    register(&client, guard, echo).await?;
    let worker = guard.control_plane.client(&Identity::worker()).await?;
    await_calls(&client, &worker).await?;
    let mut cases = Vec::new();
    for (name, namespace) in [("no webhook", PLAIN), ("two calls, empty echo", FLOOR), ("with us", guarded)] {
        let job = review::manifest_in(namespace, review::WORKER_JOB)?;
        cases.push((name, namespace, serde_json::to_vec(&job)?, Vec::with_capacity(CREATES)));
    }
    for round in 0..CREATES {
        let count = cases.len();
        for turn in 0..count {
            let Some((_, namespace, job, times)) = cases.get_mut((round + turn) % count) else { continue };
            let begun = Instant::now();
            create(&worker, namespace, job.clone()).await?;
            times.push(begun.elapsed());
        }
    }
    Ok(cases.into_iter().map(|(name, _, _, times)| (name, times)).collect())
}

async fn create(client: &Client, namespace: &str, job: Vec<u8>) -> anyhow::Result<()> {
    let request = http::Request::post(format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All"))
        .header("content-type", "application/json")
        .body(job)?;
    client.request_text(request).await?;
    Ok(())
}

/// Waits until the API server calls a new webhook, which takes a moment after its registration and is visible in its
/// metrics.
async fn await_calls(client: &Client, worker: &Client) -> anyhow::Result<()> {
    let job = serde_json::to_vec(&review::manifest_in(FLOOR, review::WORKER_JOB)?)?;
    let begun = Instant::now();
    loop {
        create(worker, FLOOR, job.clone()).await?;
        let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        let called = |kind: &str| {
            let kind = format!(r#"type="{kind}""#);
            metrics.lines().any(|line| {
                line.starts_with("apiserver_admission_webhook_admission_duration_seconds_count")
                    && line.contains(WEBHOOK)
                    && line.contains(&kind)
            })
        };
        if called("admit") && called("validating") {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(30), "kube-apiserver does not call the floor");
    }
}

async fn register(client: &Client, guard: &Guard, echo: &Echo) -> anyhow::Result<()> {
    let ca = std::fs::read(guard.file("webhook-ca.crt"))?;
    let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca);
    let configuration = |path: &str| {
        json!({
            "metadata": {"name": FLOOR},
            "webhooks": [{
                "name": WEBHOOK,
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://{}{path}", echo.address), "caBundle": ca},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["jobs"], "scope": "Namespaced"}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": FLOOR}},
            }],
        })
    };
    let mutating: MutatingWebhookConfiguration = serde_json::from_value(configuration("/mutate"))?;
    let validating: ValidatingWebhookConfiguration = serde_json::from_value(configuration("/validate"))?;
    Api::all(client.clone()).create(&PostParams::default(), &mutating).await?;
    Api::all(client.clone()).create(&PostParams::default(), &validating).await?;
    Ok(())
}
