//! The cost of a sweep besides its initial list, and its speed of deletion compared with the namespace controller.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{each, report};
use crate::control_plane::ControlPlane;
use crate::eventually::eventually;
use crate::identity::Identity;

const NAMESPACES: usize = 10_000;
/// The number of expired namespaces: every second one.
const EXPIRED: usize = NAMESPACES / 2;
/// The number of namespaces to delete in each way.
const DRAINED: usize = 300;
const TIMEOUT: Duration = Duration::from_mins(10);
const MANAGED: &str = "codex-k8s.dev/managed-by";

struct Bench<'a> {
    control_plane: &'a ControlPlane,
    playground: &'a Path,
    client: Client,
    runtime: &'a tokio::runtime::Runtime,
}

/// Measures and prints.
///
/// # Errors
/// Returns an error if a program does not start, or does not finish in time.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    report::say(&format!("\nA sweep and {NAMESPACES} run namespaces, half of them expired ..."))?;
    let control_plane = ControlPlane::start(playground)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = runtime.block_on(control_plane.client(&Identity::Admin))?;
    let bench = Bench { control_plane: &control_plane, playground, client, runtime: &runtime };
    bench.create_install_namespace()?;
    bench.drain()?;
    bench.decide()
}

impl Bench<'_> {
    fn create_install_namespace(&self) -> anyhow::Result<()> {
        let home: Namespace = serde_json::from_value(json!({"metadata": {"name": "codex-k8s-guard"}}))?;
        let api = Api::<Namespace>::all(self.client.clone());
        self.runtime.block_on(api.create(&PostParams::default(), &home))?;
        Ok(())
    }

    /// Deletes namespaces as fast as the namespace controller allows, and then the same number with a sweep.
    fn drain(&self) -> anyhow::Result<()> {
        self.create(DRAINED, |api, number| create(api, number, true))?;
        let begun = Instant::now();
        self.create(DRAINED, |api, number| async move {
            api.delete(&name(number), &DeleteParams::default()).await?;
            Ok(())
        })?;
        eventually("all of them are gone", TIMEOUT, || (self.count().ok()? == 0).then_some(()))?;
        let floor = begun.elapsed();
        report::told("the namespace controller's own rate, per second", rate(floor))?;
        self.create(DRAINED, |api, number| create(api, number, true))?;
        let begun = Instant::now();
        let allow = format!("--allow-mass-deletion={DRAINED}");
        self.sweep(&[&allow])?;
        let swept = begun.elapsed();
        ensure!(self.count()? == 0, "some of them are still there");
        report::told("a sweep's rate, rows and all, per second", rate(swept))?;
        report::at_most(
            "a sweep / the namespace controller's own time",
            swept.as_secs_f64() / floor.as_secs_f64(),
            1.5,
        )
    }

    fn decide(&self) -> anyhow::Result<()> {
        self.create(NAMESPACES, |api, number| create(api, number, number < EXPIRED))?;
        let (mut list, mut sweep) = (Duration::MAX, Duration::MAX);
        let (mut peak, mut requests) = (0, 0.0);
        for _ in 0..3 {
            let begun = Instant::now();
            ensure!(self.count()? == NAMESPACES, "there are not as many as there are to be");
            list = list.min(begun.elapsed());
            let (begun, before) = (Instant::now(), self.requests()?);
            peak = peak.max(self.sweep(&["--dry-run"])?);
            sweep = sweep.min(begun.elapsed());
            requests = self.requests()? - before;
        }
        report::told("list of all of them, by a plain client, s", list.as_secs_f64())?;
        report::told("a dry run over them, process and all, s", sweep.as_secs_f64())?;
        report::told("requests for it", requests)?;
        report::at_most("peak memory, MiB", report::mebibytes(peak), 128.0)?;
        report::at_most("a dry run / the list alone", sweep.as_secs_f64() / list.as_secs_f64(), 4.0)
    }

    fn create<F>(&self, count: usize, request: fn(Api<Namespace>, usize) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.runtime.block_on(each(&self.client, count, request))
    }

    /// Counts the managed namespaces, listed in pages like in a sweep.
    fn count(&self) -> anyhow::Result<usize> {
        let api = Api::<Namespace>::all(self.client.clone());
        let mut params = ListParams::default().labels(MANAGED).limit(500);
        let mut count = 0;
        loop {
            let page = self.runtime.block_on(api.list_metadata(&params))?;
            count += page.items.len();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(count),
            }
        }
    }

    /// Runs a sweep and returns its peak memory in bytes.
    fn sweep(&self, args: &[&str]) -> anyhow::Result<u64> {
        let store = format!("sqlite:{}", self.file("bench.db").display());
        let policy = self.file("policy.yaml");
        std::fs::write(&policy, "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n")?;
        let report = std::fs::File::create(self.file("report.json"))?;
        let mut swept = Command::new(self.playground)
            .args(["guard", "sweep", "--local", "--output=json", "--requests-per-second=2000"])
            .env("CODEX_K8S_GUARD_POLICY", policy)
            .args(args)
            .env("KUBECONFIG", self.control_plane.kubeconfig(&Identity::Admin)?)
            .env("CODEX_K8S_GUARD_AUDIT_STORE", store)
            .stdout(report)
            .stderr(Stdio::inherit())
            .spawn()?;
        let process = crate::process::Process::of_child(&swept);
        let mut peak = 0;
        let ended = eventually("the sweep has ended", TIMEOUT, || {
            peak = peak.max(process.peak_memory().unwrap_or(0));
            swept.try_wait().ok().flatten()
        })?;
        // With so many due namespaces, a dry run reports that the circuit breaker would trip.
        ensure!(matches!(ended.code(), Some(0 | 3)), "the sweep ended with {ended}");
        let report: Value = serde_json::from_slice(&std::fs::read(self.file("report.json"))?)?;
        ensure!(report.pointer("/complete") == Some(&true.into()), "the sweep ended early");
        Ok(peak)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.control_plane.folder().join(name)
    }

    /// Returns the number of requests of the kinds that a sweep sends.
    fn requests(&self) -> anyhow::Result<f64> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.runtime.block_on(self.client.request_text(request))?;
        let resources = [
            "namespaces",
            "pods",
            "jobs",
            "cronjobs",
            "deployments",
            "statefulsets",
            "replicasets",
            "daemonsets",
            "clusterrolebindings",
            "rolebindings",
            "persistentvolumes",
        ];
        let is_list = |line: &&str| {
            let of = |resource: &&str| line.contains(&format!("resource=\"{resource}\""));
            line.starts_with("apiserver_request_total{")
                && line.contains("verb=\"LIST\"")
                && resources.iter().any(of)
        };
        Ok(text.lines().filter(is_list).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}

fn name(number: usize) -> String {
    format!("codex-run-swept-{number}")
}

#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
fn rate(time: Duration) -> f64 {
    DRAINED as f64 / time.as_secs_f64()
}

async fn create(api: Api<Namespace>, number: usize, expired: bool) -> anyhow::Result<()> {
    let ago = SignedDuration::from_hours(if expired { 2 } else { 0 });
    let updated_at = Timestamp::now().round(Unit::Second)?.checked_sub(ago)?;
    let key = |key: &str| format!("codex-k8s.dev/{key}");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {
        "name": name(number),
        "labels": {
            key("managed-by"): "codex-k8s-worker",
            key("namespace-purpose"): "run",
            key("runtime-mode"): "full-env",
            key("run-id"): format!("swept-{number}"),
            key("project-id"): "bench",
        },
        "annotations": {
            key("requested-by"): "bench",
            key("namespace-lease-ttl"): "1h0m0s",
            key("namespace-lease-updated-at"): updated_at.to_string(),
            key("namespace-lease-expires-at"): updated_at.checked_add(SignedDuration::from_hours(1))?.to_string(),
        },
    }}))?;
    api.create(&PostParams::default(), &namespace).await?;
    Ok(())
}
