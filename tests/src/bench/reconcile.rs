//! The cost of the baseline reconciler, with all baselines missing and with nothing to do, and the cost of `check
//! --live` on the result.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use codex_k8s_shared::policy::{API_VERSION, KIND};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::check::watched;
use super::{each, report};
use crate::eventually::eventually;
use crate::guard::Guard;
use crate::health::Health;
use crate::identity::Identity;
use crate::webhook::Reconciler;

const NAMESPACES: usize = 2_000;
const TIMEOUT: Duration = Duration::from_mins(15);
/// The change of the proposed policy, for which the lease of every namespace is too long.
const SHORTER: &str = "lease: {defaultTtl: 6h0m0s, maxTtl: 6h0m0s}\n";
/// The policy: every namespace needs two reservations, one in the cluster and one in its project.
const POLICY: &str = "quotas: {cluster: {max: 5000}, perProject: {max: 5000}, perRequester: null}\n";

/// Measures and prints.
///
/// # Errors
/// Returns an error if a program does not start, or does not finish in time.
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
    await_count(second.health, "codex_k8s_reconcile_reconcile_total")?;
    report::told("after a restart, all reconciled after, s", begun.elapsed().as_secs_f64())?;
    let asked = runtime.block_on(requests(&client))? - before;
    report::told("requests per namespace then", ratio(asked))?;
    let written =
        ["writes", "gates"].map(|name| second.health.sum(&format!("codex_k8s_reconcile_{name}_total")));
    let [writes, gates] = written;
    report::at_most("writes then", ratio(writes? + gates?), 0.0)?;
    report::told("peak memory then, MiB", report::mebibytes(second.process.peak_memory()?))?;
    check(&guard, playground)
}

/// Measures `check --live`, as a user who may only read.
fn check(guard: &Guard, playground: &Path) -> anyhow::Result<()> {
    let kubectl = guard.kubectl(&Identity::Admin)?;
    let role = include_str!("../../../deploy/base/check.yaml");
    let binding =
        ["create", "clusterrolebinding", "auditor", "--clusterrole=codex-k8s-check", "--user=auditor"];
    for ran in [kubectl.run_with_input(&["apply", "-f", "-"], role)?, kubectl.run(&binding)?] {
        ensure!(ran.succeeded(), "{ran}");
    }
    let proposed = guard.file("proposed.yaml");
    fs::write(&proposed, format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{POLICY}{SHORTER}"))?;
    let proposed = proposed.display().to_string();
    for (what, args) in [("check --live", vec![]), ("with a proposed policy", vec!["--proposed", &proposed])]
    {
        let answer = guard.file("checked.json");
        let mut check = Command::new(playground);
        check.args(["guard", "check", "--live", "--output=json", "--policy"]).arg(guard.file("policy.yaml"));
        check.args(args).stdout(fs::File::create(&answer)?);
        check.env("KUBECONFIG", guard.control_plane.kubeconfig(&Identity::auditor())?);
        let (status, took, peak) = watched(&mut check)?;
        ensure!(status.code().is_some_and(|code| code < 2), "check failed: {status}");
        let told: Value = serde_json::from_slice(&fs::read(&answer)?)?;
        let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        ensure!(number("/live/namespaces") == u64::try_from(NAMESPACES)?, "{}", told["live"]);
        report::say(&format!("{what}: {}", told["summary"]))?;
        report::told(&format!("{what}, s"), took.as_secs_f64())?;
        report::say(&format!("{what}, requests: {}", number("/live/requests")))?;
        report::told(&format!("{what}, peak memory, MiB"), report::mebibytes(peak))?;
    }
    let events = guard.control_plane.audit_events();
    let asked: Vec<_> = events.iter().filter(|event| event["user"]["username"] == "auditor").collect();
    let writes = asked.iter().filter(|event| event["verb"] != "list").count();
    report::at_most("writes of both, of all in the audit log", ratio(writes.try_into()?), 0.0)?;
    ensure!(!asked.is_empty(), "the audit log contains no requests of the auditor");
    Ok(())
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
    eventually(&format!("{metric} says {all}"), TIMEOUT, || {
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

/// Returns the number of requests about baseline objects, namespaces and reservations, except for those of the
/// controllers of the control plane, which create, and update the status.
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
