//! What the baseline reconciler costs: from nothing, and when there is nothing to do.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::PostParams;
use serde_json::json;

use super::{each, report};
use crate::eventually::eventually;
use crate::guard::Guard;
use crate::health::Health;
use crate::identity::Identity;
use crate::webhook::Reconciler;

const NAMESPACES: usize = 2_000;
const PATIENCE: Duration = Duration::from_mins(15);
/// Every namespace takes two places: one in the cluster, one in its project.
const POLICY: &str = "quotas: {cluster: {max: 5000}, perProject: {max: 5000}}\n";

/// Measures and prints.
///
/// # Errors
/// If anything does not start, or does not come to its end.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    report::say(&format!("\nA reconciler and {NAMESPACES} run namespaces ..."))?;
    let guard = Guard::start_with_policy(playground, POLICY)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = runtime.block_on(guard.control_plane.client(&Identity::Admin))?;
    end(&guard.reconciler)?;
    runtime.block_on(create(&client))?;

    let (begun, before) = (Instant::now(), runtime.block_on(requests(&client))?);
    let first = guard.one_more_reconciler("first", &[])?;
    await_count(first.health, "codex_k8s_reconcile_gates_total{to=\"open\"}")?;
    report::told("all gates open after, s", begun.elapsed().as_secs_f64())?;
    let asked = runtime.block_on(requests(&client))? - before;
    report::told("requests per namespace", ratio(asked))?;
    report::told("peak memory, MiB", report::mebibytes(first.process.peak_memory()?))?;
    end(&first)?;

    let (begun, before) = (Instant::now(), runtime.block_on(requests(&client))?);
    let second = guard.one_more_reconciler("second", &[])?;
    await_count(second.health, "codex_k8s_reconcile_looks_total")?;
    report::told("after a restart all were looked at after, s", begun.elapsed().as_secs_f64())?;
    let asked = runtime.block_on(requests(&client))? - before;
    report::told("requests per namespace then", ratio(asked))?;
    let written =
        ["writes", "gates"].map(|name| second.health.sum(&format!("codex_k8s_reconcile_{name}_total")));
    let [writes, gates] = written;
    report::at_most("writes then", ratio(writes? + gates?), 0.0)?;
    report::told("peak memory then, MiB", report::mebibytes(second.process.peak_memory()?))
}

#[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
fn ratio(count: u64) -> f64 {
    count as f64 / NAMESPACES as f64
}

fn end(reconciler: &Reconciler) -> anyhow::Result<()> {
    reconciler.process.signal("TERM")?;
    eventually("it has ended", Duration::from_secs(15), || (!reconciler.process.is_running()).then_some(()))
}

fn await_count(health: Health, metric: &str) -> anyhow::Result<()> {
    let all = u64::try_from(NAMESPACES)?;
    eventually(&format!("{metric} says {all}"), PATIENCE, || {
        (health.metric(metric).ok()? >= all).then_some(())
    })
}

async fn create(client: &Client) -> anyhow::Result<()> {
    each(client, NAMESPACES, |api, number| async move {
        let name = format!("codex-run-many-{number}");
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        api.create(&PostParams::default(), &namespace).await?;
        Ok(())
    })
    .await
}

/// What the API server has answered about baseline objects, namespaces and places, save what its own controllers
/// write: they create, and update the status.
async fn requests(client: &Client) -> anyhow::Result<u64> {
    let resources =
        ["serviceaccounts", "roles", "rolebindings", "resourcequotas", "limitranges", "namespaces"];
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await?;
    let is_ours = |line: &&str| {
        let of = |resource: &&str| line.contains(&format!("resource=\"{resource}\""));
        let by = |verb: &&str| line.contains(&format!("verb=\"{verb}\""));
        line.starts_with("apiserver_request_total{")
            && ((resources.iter().any(&of)
                && line.contains("subresource=\"\"")
                && ["GET", "LIST", "APPLY", "PATCH", "PUT", "DELETE"].iter().any(&by))
                || (of(&"leases") && ["POST", "PATCH", "LIST"].iter().any(by)))
    };
    Ok(text
        .lines()
        .filter(is_ours)
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .map(|count| format!("{count:.0}").parse().unwrap_or(0_u64))
        .sum())
}
