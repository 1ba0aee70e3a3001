//! Large requests: their cost in the API server and in the webhook, and the time of small requests next to them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};

use super::report;
use crate::caller::Caller;
use crate::control_plane::ControlPlane;
use crate::guard::{Guard, WITHOUT_QUOTAS};
use crate::identity::Identity;
use crate::process::Process;

/// The number of requests of each kind, whose total CPU time is far above the resolution of the clock.
const REQUESTS: u32 = 5;
const SMALL: usize = 200;
const NAMESPACE: &str = "codex-issue-bench-load";

/// A kind of large request.
struct Large {
    name: &'static str,
    path: String,
    body: Value,
}

/// The CPU time of one request.
#[derive(Clone, Copy)]
struct Cost {
    api_server: Duration,
    webhook: Duration,
}

/// Measures and prints.
///
/// # Errors
/// Returns an error if a program does not start, or a small request is refused.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    report::say("\nLarge requests, dry-run, and small ones next to them ...")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let control_plane = ControlPlane::start(playground)?;
    let api_server = control_plane.api_server()?;
    let admin = runtime.block_on(Caller::new(&control_plane, &Identity::Admin))?;
    let namespace = json!({"metadata": {"name": "bench-plain"}});
    runtime.block_on(admin.send(Method::POST, "/api/v1/namespaces", &namespace))?.object()?;
    let alone = runtime.block_on(costs(&admin, &api_server, None, "bench-plain"))?;
    let guard = Guard::over_with_policy(control_plane, playground, WITHOUT_QUOTAS)?;
    runtime.block_on(prepare(&admin))?;
    let with_us = runtime.block_on(costs(&admin, &api_server, Some(&guard.webhook.process), NAMESPACE))?;
    print(&alone, &with_us)?;
    runtime.block_on(beside_large_ones(&guard))
}

async fn prepare(admin: &Caller) -> anyhow::Result<()> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    admin.send(Method::POST, "/api/v1/namespaces", &namespace).await?.object()?;
    // A dry run does not wait at the gate, but large reviews are measured without the warning about a closed gate.
    let path = format!("/api/v1/namespaces/{NAMESPACE}");
    let begun = Instant::now();
    loop {
        let found = admin.send(Method::GET, &path, &Value::Null).await?.object()?;
        if found.pointer("/metadata/annotations/codex-k8s.dev~1baseline-ready-at").is_some() {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_mins(1), "the gate did not open");
    }
}

fn job(name: &str, containers: usize) -> Value {
    let container = |index| json!({"name": format!("c{index}"), "image": "i"});
    json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": (0..containers).map(container).collect::<Vec<_>>()}}}})
}

fn kinds(namespace: &str) -> Vec<Large> {
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
    let subject =
        |index| json!({"kind": "ServiceAccount", "name": "a", "namespace": format!("team-{index}")});
    let binding = json!({"metadata": {"name": "bench-wide"}, "subjects": (0..9_000).map(subject).collect::<Vec<_>>(),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    vec![
        Large { name: "Job, 5,000 containers", path: jobs.clone(), body: job("wide", 5_000) },
        Large { name: "Job, 10,000 containers", path: jobs, body: job("wide", 10_000) },
        Large {
            name: "binding, 9,000 subjects",
            path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All".to_owned(),
            body: binding,
        },
    ]
}

async fn costs(
    admin: &Caller,
    api_server: &Process,
    webhook: Option<&Process>,
    namespace: &str,
) -> anyhow::Result<Vec<(&'static str, Cost)>> {
    let used = |process: Option<&Process>| process.map_or(Ok(Duration::ZERO), Process::cpu);
    let mut costs = Vec::new();
    for Large { name, path, body } in kinds(namespace) {
        admin.send(Method::POST, &path, &body).await?;
        let (api_before, webhook_before) = (api_server.cpu()?, used(webhook)?);
        for _ in 0..REQUESTS {
            admin.send(Method::POST, &path, &body).await?;
        }
        let api_server = (api_server.cpu()?.saturating_sub(api_before)) / REQUESTS;
        let webhook = (used(webhook)?.saturating_sub(webhook_before)) / REQUESTS;
        costs.push((name, Cost { api_server, webhook }));
    }
    Ok(costs)
}

fn print(alone: &[(&'static str, Cost)], with_us: &[(&'static str, Cost)]) -> anyhow::Result<()> {
    let head = "CPU for one request, ms";
    report::say(&format!("{head:<28}{:>14}{:>10}{:>8}{:>10}", "API server", "with us", "ratio", "webhook"))?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    for ((name, alone), (_, with_us)) in alone.iter().zip(with_us) {
        let ratio = with_us.api_server.as_secs_f64() / alone.api_server.as_secs_f64().max(0.001);
        report::say(&format!(
            "{name:<28}{:>14.1}{:>10.1}{ratio:>8.2}{:>10.1}",
            milliseconds(alone.api_server),
            milliseconds(with_us.api_server),
            milliseconds(with_us.webhook)
        ))?;
    }
    let of = |name: &str| with_us.iter().find(|(found, _)| *found == name).map(|(_, cost)| cost.webhook);
    let five = of("Job, 5,000 containers").context("not measured")?;
    let ten = of("Job, 10,000 containers").context("not measured")?;
    let ratio = ten.as_secs_f64() / five.as_secs_f64().max(0.001);
    report::at_most("the webhook: a Job of 10,000 / of 5,000 containers", ratio, 2.5)
}

/// Measures small requests of another client, alone and with three concurrent large ones. None may be refused.
async fn beside_large_ones(guard: &Guard) -> anyhow::Result<()> {
    let quiet = small(guard, "quiet").await?;
    let ended = Arc::new(AtomicBool::new(false));
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let caller = Caller::new(&guard.control_plane, &Identity::developer()).await?;
        let ended = Arc::clone(&ended);
        attackers.spawn(async move {
            let path = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs");
            let (body, mut sent) = (job("wide", 10_000), 0_u32);
            while !ended.load(Ordering::Relaxed) {
                caller.send(Method::POST, &path, &body).await?;
                sent += 1;
            }
            anyhow::Ok(sent)
        });
    }
    let beside = small(guard, "beside").await?;
    ended.store(true, Ordering::Relaxed);
    let mut large = 0;
    while let Some(attacker) = attackers.join_next().await {
        large += attacker??;
    }
    for (name, times) in [("alone", &quiet), ("next to three of 10,000 containers", &beside)] {
        report::say(&format!(
            "small Jobs {name}: p50 {:.1} ms, p99 {:.1} ms",
            report::quantile(times, 0.5) / 1e3,
            report::quantile(times, 0.99) / 1e3
        ))?;
    }
    report::say(&format!("none of {SMALL} was refused while {large} large ones were"))
}

async fn small(guard: &Guard, name: &str) -> anyhow::Result<Vec<Duration>> {
    let worker = Caller::new(&guard.control_plane, &Identity::worker()).await?;
    let path = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs?dryRun=All");
    let mut times = Vec::with_capacity(SMALL);
    for number in 0..SMALL {
        let begun = Instant::now();
        worker.send(Method::POST, &path, &job(&format!("{name}-{number}"), 1)).await?.object()?;
        times.push(begun.elapsed());
    }
    Ok(times)
}
