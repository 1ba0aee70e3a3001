//! The cost of the cache of managed namespaces with many of them, and its effect on the time of decisions.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::each;
use crate::eventually::eventually;
use crate::guard::Guard;
use crate::identity::Identity;
use crate::webhook::Webhook;

/// The number of run namespaces at the end.
pub(super) const NAMESPACES: usize = 10_000;
const TIMEOUT: Duration = Duration::from_mins(2);

/// The memory of a webhook, in bytes.
pub(super) struct Memory {
    pub(super) before: u64,
    pub(super) with_all: u64,
    pub(super) after_changes: u64,
    /// The peak of a webhook that was started when all namespaces existed.
    pub(super) late_peak: u64,
}

/// Creates the namespaces through the webhook, changes each of them once, and starts another webhook.
pub(super) async fn fill(guard: &Guard) -> anyhow::Result<Memory> {
    let client = guard.control_plane.client(&Identity::Admin).await?;
    let process = &guard.webhook.process;
    let known = count(&guard.webhook)?;
    let before = process.memory()?;
    each(&client, NAMESPACES, |api, number| async move {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name(number)}}))?;
        api.create(&PostParams::default(), &namespace).await?;
        Ok(())
    })
    .await?;
    await_count(&guard.webhook, known + NAMESPACES)?;
    let with_all = process.memory()?;
    each(&client, NAMESPACES, |api, number| async move {
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

fn count(webhook: &Webhook) -> anyhow::Result<usize> {
    Ok(usize::try_from(webhook.health.metric("codex_k8s_webhook_managed_namespaces")?)?)
}

fn await_count(webhook: &Webhook, wanted: usize) -> anyhow::Result<()> {
    let reached = || count(webhook).ok().filter(|count| *count == wanted).map(drop);
    eventually(&format!("the cache holds {wanted} namespaces"), TIMEOUT, reached)
}
