//! `reconcile`: looks after the baseline of all managed namespaces.

mod certificates;

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use codex_k8s_shared::home::LEADER_LEASE;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::telemetry::TelemetryArgs;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::serve::{bind, signals};
use super::{output, policy};
use crate::reconcile::certificates::Certificates;
use crate::reconcile::inspection::reason;
use crate::reconcile::metrics::Metrics;
use crate::reconcile::namespace::{Gate, is_concerned, reconcile};
use crate::reconcile::places_cluster::Standing;
use crate::reconcile::plan::{Drift, Step};
use crate::reconcile::{AtOnce, Cluster, Context, Inspector, Places, Report, controller, last_sweep};
use crate::server::{Readiness, health};

const LEADER: &str = "leader elected or standing by";
/// How long the Lease may take to be given back at the end.
const GIVING_BACK: Duration = Duration::from_secs(3);
/// How long a look waits for a quota to be counted: seconds after a burst.
const COUNTED: Duration = Duration::from_secs(15);

/// Put the baseline into every managed namespace, heal it, and open the gate of those that have it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy; the platform's own values without one
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_WEBHOOK_POLICY")]
    policy: Option<PathBuf>,
    /// Look once at every managed namespace, print what was done, and end
    #[arg(long)]
    once: bool,
    /// Print what would be done, and do nothing; implies --once
    #[arg(long)]
    dry_run: bool,
    /// The plain address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080", env = "CODEX_K8S_RECONCILE_HEALTH_LISTEN")]
    health_listen: SocketAddr,
    /// The namespace of the Lease that says who leads, and of the Leases that are places
    #[arg(long, default_value = "codex-k8s-guard", value_name = "NAMESPACE")]
    lease_namespace: String,
    /// Who this process is in the Lease; the host's name without one
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Work without asking who leads: two that do so at once are safe, but do everything twice
    #[arg(long)]
    no_leader_election: bool,
    /// How often the policy is read again, in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MILLISECONDS")]
    reload_interval: u64,
    /// How long agent Jobs that wait are still let go once the policy does not limit them any more, in milliseconds:
    /// at least until every webhook has read it
    #[arg(long, default_value_t = 300_000, value_name = "MILLISECONDS")]
    linger: u64,
    #[command(flatten)]
    certificates: certificates::Certificates,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = super::runtime()?;
        let _telemetry = self.telemetry.begin("codex-k8s-reconcile", "info", runtime.handle())?;
        if self.once || self.dry_run {
            runtime.block_on(self.once())
        } else {
            runtime.block_on(self.forever())
        }
    }

    fn policy(&self) -> anyhow::Result<RunPolicy> {
        Ok(self.policy.as_deref().map(policy::read).transpose()?.unwrap_or_default())
    }

    async fn once(&self) -> anyhow::Result<()> {
        let policy = self.policy()?;
        let client = super::client().await?;
        let cluster = Cluster::new(client.clone(), self.dry_run);
        let mut namespaces =
            cluster.managed_namespaces().await.context("failed to list the managed namespaces")?;
        namespaces.retain(|meta| is_concerned(&policy, meta));
        let inspector = Inspector::new(client.clone());
        let places = Places::new(client, &self.lease_namespace, cluster.clone(), Arc::default());
        places.settle(&policy.quotas).await.context("failed to count the places")?;
        let (mut failures, mut waiting) = (0, 0);
        for meta in &namespaces {
            match settle(&cluster, &policy, meta, &places, &inspector).await {
                Ok(report) => {
                    waiting += usize::from(!report.is_settled());
                    output::print(&told(&report, self.dry_run))?;
                }
                Err(error) => {
                    failures += 1;
                    let namespace = meta.name.as_deref().unwrap_or_default();
                    tracing::error!(namespace, error = &error as &dyn Error, "failed");
                }
            }
        }
        let all = namespaces.len();
        ensure!(failures == 0, "{failures} of {all} namespaces failed");
        ensure!(waiting == 0 || self.dry_run, "{waiting} of {all} namespaces are not ready");
        Ok(())
    }

    async fn forever(self) -> anyhow::Result<()> {
        let policy = Arc::new(ArcSwap::from_pointee(self.policy()?));
        let (client, shutdown) = (super::client().await?, signals()?);
        let metrics = Arc::<Metrics>::default();
        let readiness = Readiness::waiting_for(&[LEADER]);
        let render = Arc::clone(&metrics);
        let health = health::serve(
            bind(self.health_listen)?,
            readiness.clone(),
            Arc::new(move || render.render()),
            CancellationToken::new(),
        );
        let linger = Duration::from_millis(self.linger);
        let context =
            Context::new(client.clone(), Arc::clone(&policy), metrics, &self.lease_namespace, linger);
        let context = Arc::new(context);
        let (notify, changes) = watch::channel(());
        let metrics = &context.metrics;
        let certificates = self.certificates.options(&self.lease_namespace)?.map(|options| {
            Certificates::new(client.clone(), options, Arc::clone(&policy), Arc::clone(metrics))
        });
        let work = Work { context: &context, changes: &changes, certificates: certificates.as_ref() };
        tokio::select! {
            ended = self.lead(&client, &work, &readiness, &shutdown) => ended?,
            ended = health => ended.context("failed to serve health")?,
            () = self.reload(&policy, &notify) => {}
            () = last_sweep::follow(client.clone(), &self.lease_namespace, &metrics.last_sweep) => {}
        }
        tracing::info!("ended");
        Ok(())
    }

    /// Works until the shutdown: while this process leads, if that matters.
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
        // The Lease is given back, so that the next one need not wait until it runs out.
        drop(leads);
        if tokio::time::timeout(GIVING_BACK, renewing).await.is_err() {
            tracing::warn!("failed to give the Lease back in time");
        }
        led
    }

    async fn election(&self, client: &Client) -> anyhow::Result<LeaseManager> {
        LeaseManagerBuilder::new(client.clone(), LEADER_LEASE)
            .with_namespace(&self.lease_namespace)
            .with_identity(self.identity())
            .with_duration(15)
            .with_grace(5)
            .build()
            .await
            .context("failed to take part in the election")
    }

    fn identity(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = self.identity.clone().or_else(host).unwrap_or_default();
        format!("{}-{}", name.trim(), std::process::id())
    }

    async fn reload(&self, policy: &ArcSwap<RunPolicy>, notify: &watch::Sender<()>) {
        let interval = Duration::from_millis(self.reload_interval.max(10));
        policy::follow(self.policy.as_deref(), interval, |read| match read {
            Ok(new) => {
                tracing::info!(policy = %new.hash(), "a new policy is in force");
                policy.store(Arc::new(new));
                // Nobody looks while another one leads; that one has its own.
                let _ = notify.send(());
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "the old policy stays in force"),
        })
        .await;
    }
}

/// What whoever leads does.
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
        // The one that ends is the controller, with the process.
        tokio::select! {
            () = controller::run(client.clone(), Arc::clone(self.context), self.changes.clone()) => {}
            () = certificates => {}
        }
    }
}

/// Works whenever this process leads, and stands by while another does.
async fn while_leading(
    leads: &mut watch::Receiver<bool>,
    context: &Context,
    work: impl AsyncFn(),
) -> anyhow::Result<()> {
    loop {
        leads.wait_for(|leads| *leads).await.context("the election ended")?;
        tracing::info!("leading");
        tokio::select! {
            () = work() => return Ok(()),
            lost = async { leads.wait_for(|leads| !leads).await.map(drop) } => lost.context("the election ended")?,
        }
        context.metrics.stand_by();
        tracing::warn!("another one leads");
    }
}

/// Looks at a namespace, and again while only the counting of its quota is waited for.
async fn settle(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    places: &Places,
    inspector: &Inspector,
) -> kube::Result<Report> {
    let begun = Instant::now();
    let mut report = reconcile(cluster, policy, meta, places, inspector, &AtOnce).await?;
    while report.left.only_counts() && !cluster.is_dry_run() && begun.elapsed() < COUNTED {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(meta) = cluster.namespace(&report.namespace).await? else { break };
        let later = reconcile(cluster, policy, &meta, places, inspector, &AtOnce).await?;
        report.done.extend(later.done);
        (report.left, report.gate, report.standing) = (later.left, later.gate, later.standing);
        report.violations = later.violations;
    }
    Ok(report)
}

/// What was done in a namespace, or would be, with each difference on a line of its own.
fn told(report: &Report, dry_run: bool) -> String {
    let mut text = String::new();
    let would = if dry_run { "would " } else { "" };
    for step in &report.done {
        let (verb, kind, name, drift) = match step {
            Step::Create(wanted) => ("create", wanted.kind, &wanted.name, None),
            Step::Heal(wanted, drift) => ("heal", wanted.kind, &wanted.name, Some(drift)),
            Step::Replace(wanted, drift) => ("replace", wanted.kind, &wanted.name, Some(drift)),
            Step::Remove(kind, name, _) => ("remove", *kind, name, None),
        };
        let _ = writeln!(text, "{}: {would}{verb} {kind} {name}", report.namespace);
        for difference in drift.iter().flat_map(|drift: &&Drift| &drift.differences) {
            let _ =
                writeln!(text, "  {}\n  - {}\n  + {}", difference.path, difference.found, difference.wanted);
        }
    }
    let changes = report.gate != Gate::Unchanged || !report.done.is_empty();
    let state = match &report.left {
        _ if !report.violations.is_empty() => format!("waits: {}", reason(&report.violations)),
        _ if let Standing::Waits(waits) = &report.standing => format!("waits: {waits}"),
        left if left.is_complete() && dry_run && changes => "would then be ready".to_owned(),
        left if left.is_complete() => "ready".to_owned(),
        left if left.only_counts() && dry_run => "would then be ready once its quota counts".to_owned(),
        left => format!("waits: {}", left.missing().join(", ")),
    };
    let _ = writeln!(text, "{}: {state}", report.namespace);
    text
}
