//! Benchmarks: the speed of the webhook as ratios to a floor that is measured in the same run.
//!
//! The floor and the webhook are separate processes, measured by turns in short rounds, so that other load on the
//! machine affects all of them equally.

pub mod api_server;
mod cache;
mod check;
pub mod echo;
mod end_to_end;
mod image;
mod load;
mod reconcile;
mod replay;
mod report;
mod server;
mod sweep;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use hyper::body::Bytes;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::guard::{Guard, WITHOUT_QUOTAS};
use crate::identity::Identity;
use crate::load::{Connection, Dialer};
use crate::review;

use report::Figures;
use server::{Echo, Target};

const ROUNDS: usize = 12;
const ALONE: usize = 1500;
const TOGETHER: usize = 5000;
const CONNECTIONS: usize = 25;
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A section of the benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// Reviews, in the webhook and in the floor
    Webhook,
    /// Large requests, and small ones next to them
    Load,
    /// The reconciler of baselines
    Reconcile,
    /// A sweep of the garbage collector
    Sweep,
    /// Files, evaluated without a cluster
    Check,
    /// A large audit log, evaluated without a cluster
    Replay,
    /// The cost of our match conditions in the API server, for namespaces with many labels
    ApiServer,
    /// The image, and the start of its server
    Image,
}

/// Measures and prints sections, or all of them if none is named.
///
/// # Errors
/// Returns an error if a program does not start, or a result is wrong.
pub fn run(playground: &Path, sections: &[Section]) -> anyhow::Result<()> {
    let is_wanted = |section| sections.is_empty() || sections.contains(&section);
    if is_wanted(Section::Webhook) {
        webhook(playground)?;
    }
    if is_wanted(Section::Load) {
        load::run(playground)?;
    }
    if is_wanted(Section::Reconcile) {
        reconcile::run(playground)?;
    }
    if is_wanted(Section::Sweep) {
        sweep::run(playground)?;
    }
    if is_wanted(Section::Check) {
        check::run(playground)?;
    }
    if is_wanted(Section::Replay) {
        replay::run(playground)?;
    }
    if is_wanted(Section::ApiServer) {
        api_server::run(playground)?;
    }
    if is_wanted(Section::Image) {
        image::run(playground)?;
    }
    Ok(())
}

fn webhook(playground: &Path) -> anyhow::Result<()> {
    let control_plane = ControlPlane::start(playground)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (namespace, job) = runtime.block_on(prepare(&control_plane))?;
    let review = Bytes::from(review::job_creation(UID, &job));
    let guard = Guard::over_with_policy(control_plane, playground, WITHOUT_QUOTAS)?;
    let empty = Echo::start(&guard, playground, false)?;
    let parsing = Echo::start(&guard, playground, true)?;
    let dialer = Dialer::trusting(&std::fs::read(guard.file("webhook-ca.crt"))?)?;
    let webhook = &guard.webhook;
    let mut targets = [
        Target::new("empty echo", empty.address, "/validate", empty.process.clone()),
        Target::new("parsing echo", parsing.address, "/validate", parsing.process.clone()),
        Target::new("validate", webhook.address, "/validate", webhook.process.clone()),
        Target::new("mutate", webhook.address, "/mutate", webhook.process.clone()),
    ];
    report::say(&format!("review of {} bytes, {ROUNDS} rounds, {CONNECTIONS} connections", review.len()))?;
    runtime.block_on(measure(&dialer, &review, &mut targets))?;
    report::servers(&targets)?;
    let figures = runtime.block_on(end_to_end::measure(&guard, &empty, &namespace))?;
    report::end_to_end(&figures)?;
    // The reconciler would create ten thousand baselines meanwhile.
    guard.reconciler.process.signal("TERM")?;
    report::say(&format!("\nCreating {} run namespaces through the webhook ...", cache::NAMESPACES))?;
    let memory = runtime.block_on(cache::fill(&guard))?;
    let mut targets = [
        Target::new("parsing echo", parsing.address, "/validate", parsing.process.clone()),
        Target::new("validate", webhook.address, "/validate", webhook.process.clone()),
    ];
    runtime.block_on(measure(&dialer, &review, &mut targets))?;
    report::cache(&memory, &targets)
}

/// Returns the name of a run namespace, and its Job as the API server sends it to a webhook.
async fn prepare(control_plane: &ControlPlane) -> anyhow::Result<(String, Value)> {
    let client = control_plane.client(&Identity::Admin).await?;
    let namespace: Value = serde_saphyr::from_str(review::WORKER_NAMESPACE)?;
    let name = namespace.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    end_to_end::create_namespace(&client, &namespace).await?;
    for plain in [end_to_end::PLAIN, end_to_end::FLOOR] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plain}});
        end_to_end::create_namespace(&client, &namespace).await?;
    }
    end_to_end::let_worker_in(&client).await?;
    let job = serde_saphyr::from_str(review::WORKER_JOB)?;
    let job = review::defaulted_job(control_plane, &job).await?;
    Ok((name, job))
}

async fn measure(dialer: &Dialer, review: &Bytes, targets: &mut [Target]) -> anyhow::Result<()> {
    for target in targets.iter_mut() {
        alone(dialer, review, target, ALONE).await?;
        target.figures = Figures::default();
    }
    for round in 0..ROUNDS {
        for turn in 0..targets.len() {
            // Each round starts with another target, so that being first is not an advantage.
            let count = targets.len();
            let Some(target) = targets.get_mut((round + turn) % count) else { continue };
            alone(dialer, review, target, ALONE).await?;
            together(dialer, review, target).await?;
        }
    }
    Ok(())
}

/// Sends one review after the other on one connection, to measure the latency of a single request.
async fn alone(dialer: &Dialer, review: &Bytes, target: &mut Target, count: usize) -> anyhow::Result<()> {
    let mut connection = dialer.connect(target.address).await?;
    for _ in 0..count {
        let begun = Instant::now();
        post(&mut connection, target.path, review).await?;
        target.figures.alone.push(begun.elapsed());
    }
    Ok(())
}

/// Sends reviews on many connections at the same time, to measure throughput and CPU time.
async fn together(dialer: &Dialer, review: &Bytes, target: &mut Target) -> anyhow::Result<()> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(dialer.connect(target.address).await?);
    }
    let each = TOGETHER / CONNECTIONS;
    let cpu = target.process.cpu()?;
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (path, review) = (target.path, review.clone());
        clients.spawn(async move {
            for _ in 0..each {
                post(&mut connection, path, &review).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    target.figures.busy += begun.elapsed();
    target.figures.cpu += target.process.cpu()?.saturating_sub(cpu);
    target.figures.reviews += each * CONNECTIONS;
    Ok(())
}

async fn post(connection: &mut Connection, path: &str, review: &Bytes) -> anyhow::Result<()> {
    let reply = connection.post(path, review.clone()).await?;
    let text = std::str::from_utf8(&reply.body)?;
    ensure!(
        reply.status.is_success() && text.contains(r#""allowed":true"#) && text.contains(UID),
        "{path} answered {}: {text}",
        reply.status
    );
    Ok(())
}

/// Sends a request for each number below `count`, with as many connections as kube-apiserver keeps open.
async fn each<F>(client: &Client, count: usize, request: fn(Api<Namespace>, usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (api, next) = (Api::<Namespace>::all(client.clone()), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
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
