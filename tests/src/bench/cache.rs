//! What the cache of managed namespaces costs when there are many of them, and whether decisions get slower.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::eventually::eventually;
use crate::guard::Guard;
use crate::identity::Identity;
use crate::webhook::Webhook;

/// How many run namespaces there are in the end.
pub(super) const NAMESPACES: usize = 10_000;
const AT_A_TIME: usize = 25;
const PATIENCE: Duration = Duration::from_mins(2);

/// The memory of a webhook, in bytes.
pub(super) struct Memory {
    pub(super) before: u64,
    pub(super) with_all: u64,
    pub(super) after_changes: u64,
    /// The most that a webhook ever had which began when there were that many.
    pub(super) late_peak: u64,
}

/// Creates the namespaces through the webhook, changes each of them once, and starts one more webhook.
pub(super) async fn fill(guard: &Guard) -> anyhow::Result<Memory> {
    let client = guard.control_plane.client(&Identity::Admin).await?;
    let process = &guard.webhook.process;
    let known = count(&guard.webhook)?;
    let before = process.memory()?;
    each(&client, |api, number| async move {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name(number)}}))?;
        api.create(&PostParams::default(), &namespace).await?;
        Ok(())
    })
    .await?;
    await_count(&guard.webhook, known + NAMESPACES)?;
    let with_all = process.memory()?;
    each(&client, |api, number| async move {
        let note = json!({"metadata": {"annotations": {"example.dev/note": number.to_string()}}});
        api.patch_metadata(&name(number), &PatchParams::default(), &Patch::Merge(note)).await?;
        Ok(())
    })
    .await?;
    let after_changes = process.memory()?;
    let late = guard.one_more("late", &[])?;
    await_count(&late, known + NAMESPACES)?;
    Ok(Memory { before, with_all, after_changes, late_peak: late.process.peak_memory()? })
}

fn name(number: usize) -> String {
    format!("codex-run-bench-{number}")
}

async fn each<F>(client: &Client, request: fn(Api<Namespace>, usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (api, next) = (Api::<Namespace>::all(client.clone()), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= NAMESPACES {
                    return anyhow::Ok(());
                }
                request(api.clone(), number).await?;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

fn count(webhook: &Webhook) -> anyhow::Result<usize> {
    Ok(usize::try_from(webhook.health.metric("codex_k8s_webhook_managed_namespaces")?)?)
}

fn await_count(webhook: &Webhook, wanted: usize) -> anyhow::Result<()> {
    let reached = || count(webhook).ok().filter(|count| *count == wanted).map(drop);
    eventually(&format!("the cache holds {wanted} namespaces"), PATIENCE, reached)
}
