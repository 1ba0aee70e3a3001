//! `reconcile`: keeps the baseline of all managed namespaces.

mod certificates;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use codex_k8s_shared::errors;
use codex_k8s_shared::install::LEADER_LEASE;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::baseline::meta::MetaExt;
use codex_k8s_webhook::baseline::plan::{Drift, Step};
use codex_k8s_webhook::reconcile::audit_rows::AuditRows;
use codex_k8s_webhook::reconcile::certificates::Certificates;
use codex_k8s_webhook::reconcile::inspection::reason;
use codex_k8s_webhook::reconcile::metrics::Metrics;
use codex_k8s_webhook::reconcile::namespace::{Gate, reconcile};
use codex_k8s_webhook::reconcile::quota::namespaces::QuotaStatus;
use codex_k8s_webhook::reconcile::{
    Cluster, Context, Inspector, NamespaceQuota, NoBackoff, Report, controller, last_sweep,
};
use codex_k8s_webhook::server::{Readiness, health};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::connect::store_address;
use crate::duration::duration;
use crate::policy_file::{self, PolicyArgs};
use crate::process::{self, HealthArgs, signals};
use crate::telemetry::TelemetryArgs;
use crate::{kubernetes, output};

const LEADER: &str = "leader elected or quota by";
/// The timeout for releasing the Lease at the end.
const GIVING_BACK: Duration = Duration::from_secs(3);
/// The timeout of `--once` for the usage of a quota to be counted, which takes seconds after a burst.
const COUNTED: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard reconcile --policy policy.yaml --dry-run
  codex-k8s-guard reconcile --policy policy.yaml --once
  codex-k8s-guard reconcile --policy policy.yaml --certificates --leaf-lifetime 2160h";

/// Create and repair the baseline of every managed namespace (in the cluster)
///
/// Opens the gate of each namespace that has a complete baseline and its quota reservations. With --certificates, also
/// rotates the certificates of the webhook and keeps its configurations up to date.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    /// Reconcile every managed namespace once, print the changes and exit
    #[arg(long)]
    once: bool,
    /// Print the changes without making them; implies --once
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    health: HealthArgs,
    /// Name of this process in the leader Lease (default: the host name)
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// Work without leader election; two processes at the same time are safe, but do everything twice
    #[arg(long)]
    no_leader_election: bool,
    /// Interval between reads of the policy file
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    reload_interval: Duration,
    /// Time to keep admitting pending agent Jobs after the policy has stopped limiting them; must be at least the time
    /// until every webhook has loaded the policy
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration)]
    linger: Duration,
    /// Audit store: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`
    ///
    /// If given, a row is written as soon as a namespace is prepared, and those about Jobs if the policy asks for them.
    /// Otherwise the next sweep writes the row of the namespace.
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GUARD_AUDIT_STORE", hide_env_values = true)]
    audit_store: Option<String>,
    #[command(flatten)]
    certificates: certificates::Certificates,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = process::runtime()?;
        let _telemetry = self.telemetry.begin(
            "codex-k8s-reconcile",
            self.cluster.log_filter().unwrap_or("info"),
            runtime.handle(),
        )?;
        if self.once || self.dry_run {
            runtime.block_on(self.once())
        } else {
            runtime.block_on(self.forever())
        }
    }

    async fn once(&self) -> anyhow::Result<()> {
        let policy = self.policy.read()?;
        let client = self.cluster.client()?;
        let cluster = Cluster::new(client.clone(), self.dry_run);
        let mut namespaces =
            cluster.managed_namespaces().await.context("failed to list the managed namespaces")?;
        namespaces.retain(|meta| meta.is_in_scope(&policy));
        let inspector = Inspector::new(client.clone());
        let quota = NamespaceQuota::new(client, self.install.name(), cluster.clone(), Arc::default());
        quota.settle(&policy.quotas).await.context("failed to count the reservations")?;
        let (mut failures, mut waiting) = (0, 0);
        for meta in &namespaces {
            match settle(&cluster, &policy, meta, &quota, &inspector).await {
                Ok(report) => {
                    waiting += usize::from(!report.is_settled());
                    output::print(&format_report(&report, self.dry_run))?;
                }
                Err(error) => {
                    failures += 1;
                    let namespace = meta.name.as_deref().unwrap_or_default();
                    tracing::error!(
                        namespace,
                        error = errors::chain(&error),
                        "failed to reconcile the namespace"
                    );
                }
            }
        }
        let all = namespaces.len();
        ensure!(failures == 0, "failed to reconcile {failures} of {all} namespaces");
        ensure!(waiting == 0 || self.dry_run, "{waiting} of {all} namespaces are not ready");
        Ok(())
    }

    async fn forever(self) -> anyhow::Result<()> {
        let policy = Arc::new(ArcSwap::from_pointee(self.policy.read()?));
        let (client, shutdown) = (self.cluster.client()?, signals()?);
        let metrics = Arc::<Metrics>::default();
        let readiness = Readiness::waiting_for(&[LEADER]);
        let render = Arc::clone(&metrics);
        let health = health::serve(
            self.health.bind()?,
            readiness.clone(),
            Arc::new(move || render.render()),
            CancellationToken::new(),
        );
        let namespace = self.install.name();
        let mut context = Context::new(client.clone(), Arc::clone(&policy), metrics, namespace, self.linger);
        context.audit_rows = self.audit_store.as_deref().map(store_address).transpose()?.map(AuditRows::new);
        let context = Arc::new(context);
        let (notify, changes) = watch::channel(());
        let metrics = &context.metrics;
        let certificates = self.certificates.options(namespace)?.map(|options| {
            Certificates::new(client.clone(), options, Arc::clone(&policy), Arc::clone(metrics))
        });
        let work = Work { context: &context, changes: &changes, certificates: certificates.as_ref() };
        tokio::select! {
            ended = self.lead(&client, &work, &readiness, &shutdown) => ended?,
            ended = health => ended.context("failed to serve health")?,
            () = self.reload(&policy, &notify, metrics) => {}
            () = kubernetes::follow(&client, &metrics.build, drop) => {}
            () = last_sweep::follow(client.clone(), namespace, &metrics.last_sweep) => {}
        }
        tracing::info!("ended");
        Ok(())
    }

    /// Works until the shutdown: only while this process leads, unless leader election is disabled.
    async fn lead(
        &self,
        client: &Client,
        work: &Work<'_>,
        readiness: &Readiness,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let context = work.context;
        let work = async || Box::pin(work.run(client)).await;
        if self.no_leader_election {
            readiness.set(LEADER, true);
            tokio::select! { () = work() => {}, () = shutdown.cancelled() => {} }
            return Ok(());
        }
        let (mut leads, renewing) = self.election(client).await?.watch().await;
        readiness.set(LEADER, true);
        let led = tokio::select! {
            led = while_leading(&mut leads, context, work) => led,
            () = shutdown.cancelled() => Ok(()),
        };
        // Release the Lease, so that the next leader does not have to wait until it expires.
        drop(leads);
        if tokio::time::timeout(GIVING_BACK, renewing).await.is_err() {
            tracing::warn!("timed out releasing the Lease");
        }
        led
    }

    async fn election(&self, client: &Client) -> anyhow::Result<LeaseManager> {
        let namespace = self.install.name();
        LeaseManagerBuilder::new(client.clone(), LEADER_LEASE)
            .with_namespace(namespace)
            .with_identity(process::identity(self.identity.as_deref()))
            .with_duration(15)
            .with_grace(5)
            .build()
            .await
            .with_context(|| {
                format!(
                    "failed to join the leader election in namespace {namespace}; create the namespace, or name the one of \
                     the installation with --guard-namespace"
                )
            })
    }

    async fn reload(&self, policy: &ArcSwap<RunPolicy>, notify: &watch::Sender<()>, metrics: &Metrics) {
        let interval = self.reload_interval.max(policy_file::SHORTEST_INTERVAL);
        policy_file::follow(self.policy.file(), interval, |read| match read {
            Ok(new) => {
                tracing::info!(policy = %new.hash(), "loaded a new policy");
                policy.store(Arc::new(new));
                metrics.reloaded("policy");
                // No receiver exists while another process leads, which reads its own policy.
                let _ = notify.send(());
            }
            Err(error) => {
                metrics.reload_failed("policy");
                tracing::error!(
                    error = errors::chain(&*error),
                    "failed to load the new policy, keeping the old one"
                );
            }
        })
        .await;
    }
}

/// The work of the leader.
struct Work<'a> {
    context: &'a Arc<Context>,
    changes: &'a watch::Receiver<()>,
    certificates: Option<&'a Certificates>,
}

impl Work<'_> {
    async fn run(&self, client: &Client) {
        self.context.metrics.leading.set(1);
        let certificates = async {
            match self.certificates {
                Some(certificates) => certificates.run().await,
                None => std::future::pending().await,
            }
        };
        // Only the controller ends, when the process ends.
        tokio::select! {
            () = self.context.write_rows() => {}
            () = controller::run(client.clone(), Arc::clone(self.context), self.changes.clone()) => {}
            () = certificates => {}
        }
    }
}

/// Works while this process leads, and stands by while another does.
async fn while_leading(
    leads: &mut watch::Receiver<bool>,
    context: &Context,
    work: impl AsyncFn(),
) -> anyhow::Result<()> {
    loop {
        leads.wait_for(|leads| *leads).await.context("the leader election ended")?;
        tracing::info!("became leader");
        tokio::select! {
            () = work() => return Ok(()),
            lost = async { leads.wait_for(|leads| !leads).await.map(drop) } => lost.context("the leader election ended")?,
        }
        context.metrics.stop_leading();
        tracing::warn!("lost leadership");
    }
}

/// Reconciles a namespace, and repeats it while only the usage of its quota has yet to be counted.
async fn settle(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    quota: &NamespaceQuota,
    inspector: &Inspector,
) -> kube::Result<Report> {
    let begun = Instant::now();
    let mut report = reconcile(cluster, policy, meta, quota, inspector, &NoBackoff).await?;
    while report.left.only_counts() && !cluster.is_dry_run() && begun.elapsed() < COUNTED {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(meta) = cluster.namespace(&report.namespace).await? else { break };
        let later = reconcile(cluster, policy, &meta, quota, inspector, &NoBackoff).await?;
        report.done.extend(later.done);
        (report.left, report.gate, report.quota) = (later.left, later.gate, later.quota);
        report.violations = later.violations;
    }
    Ok(report)
}

/// Formats the changes in a namespace, made or planned, with each difference on a line of its own.
fn format_report(report: &Report, dry_run: bool) -> String {
    let mut text = String::new();
    let would = if dry_run { "would " } else { "" };
    for step in &report.done {
        let (verb, kind, name, drift) = match step {
            Step::Create(desired) => ("create", desired.kind, &desired.name, None),
            Step::Repair(desired, drift) => ("repair", desired.kind, &desired.name, Some(drift)),
            Step::Replace(desired, drift) => ("replace", desired.kind, &desired.name, Some(drift)),
            Step::Remove(kind, name, _) => ("remove", *kind, name, None),
        };
        let _ = writeln!(text, "{}: {would}{verb} {kind} {name}", report.namespace);
        for difference in drift.iter().flat_map(|drift: &&Drift| &drift.differences) {
            let _ =
                writeln!(text, "  {}\n  - {}\n  + {}", difference.path, difference.found, difference.desired);
        }
    }
    let changes = report.gate != Gate::Unchanged || !report.done.is_empty();
    let state = match &report.left {
        _ if !report.violations.is_empty() => format!("waits: {}", reason(&report.violations)),
        _ if let QuotaStatus::Pending(waits) = &report.quota => format!("waits: {waits}"),
        left if left.is_complete() && dry_run && changes => "would then be ready".to_owned(),
        left if left.is_complete() => "ready".to_owned(),
        left if left.only_counts() && dry_run => "would then be ready once its quota counts".to_owned(),
        left => format!("waits: {}", left.missing().join(", ")),
    };
    let _ = writeln!(text, "{}: {state}", report.namespace);
    text
}
