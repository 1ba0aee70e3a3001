//! `reconcile`: looks after the baseline of all managed namespaces.

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use codex_k8s_shared::policy::RunPolicy;
use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::serve::{LogForm, bind, signals};
use super::{output, policy};
use crate::reconcile::metrics::Metrics;
use crate::reconcile::namespace::{Gate, is_concerned, reconcile};
use crate::reconcile::places_cluster::Standing;
use crate::reconcile::plan::{Drift, Step};
use crate::reconcile::{AtOnce, Cluster, Context, Places, Report, controller};
use crate::server::{Readiness, health};

const LEADER: &str = "leader elected or standing by";
const LEASE: &str = "codex-k8s-reconcile";

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
    /// The form of the log; its filter is `RUST_LOG`
    #[arg(long, value_enum, default_value = "text")]
    log: LogForm,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.log.install();
        let runtime = super::runtime()?;
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
        let client = client().await?;
        let cluster = Cluster::new(client.clone(), self.dry_run);
        let namespaces =
            cluster.managed_namespaces().await.context("failed to list the managed namespaces")?;
        let places = Places::new(client, &self.lease_namespace, cluster.clone(), Arc::default());
        places.settle(&policy.quotas).await.context("failed to count the places")?;
        let mut failures = 0;
        for meta in namespaces.iter().filter(|meta| is_concerned(&policy, meta)) {
            let name = meta.name.as_deref().unwrap_or_default();
            match reconcile(&cluster, &policy, meta, &places, &AtOnce).await {
                Ok(report) => output::print(&told(&report, self.dry_run))?,
                Err(error) => {
                    failures += 1;
                    tracing::error!(namespace = name, error = &error as &dyn Error, "failed");
                }
            }
        }
        if failures > 0 {
            bail!("{failures} of {} namespaces failed", namespaces.len());
        }
        Ok(())
    }

    async fn forever(self) -> anyhow::Result<()> {
        let policy = Arc::new(ArcSwap::from_pointee(self.policy()?));
        let (client, shutdown) = (client().await?, signals()?);
        let metrics = Arc::<Metrics>::default();
        let readiness = Readiness::waiting_for(&[LEADER]);
        let render = Arc::clone(&metrics);
        let health = health::serve(
            bind(self.health_listen)?,
            readiness.clone(),
            Arc::new(move || render.render()),
            CancellationToken::new(),
        );
        let context =
            Arc::new(Context::new(client.clone(), Arc::clone(&policy), metrics, &self.lease_namespace));
        let (notify, changes) = watch::channel(());
        tokio::select! {
            () = shutdown.cancelled() => tracing::info!("ended"),
            ended = health => ended.context("failed to serve health")?,
            ended = self.lead(&client, &context, &changes, &readiness) => ended?,
            () = self.reload(&policy, &notify) => {}
        }
        Ok(())
    }

    /// Works while this process leads, and stands by while another does.
    async fn lead(
        &self,
        client: &Client,
        context: &Arc<Context>,
        changes: &watch::Receiver<()>,
        readiness: &Readiness,
    ) -> anyhow::Result<()> {
        if self.no_leader_election {
            readiness.set(LEADER, true);
            context.metrics.leading.set(1);
            controller::run(client.clone(), Arc::clone(context), changes.clone()).await;
            return Ok(());
        }
        let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
            .with_namespace(&self.lease_namespace)
            .with_identity(self.identity())
            .with_duration(15)
            .with_grace(5)
            .build()
            .await
            .context("failed to take part in the election")?;
        let (mut leads, _renewing) = manager.watch().await;
        readiness.set(LEADER, true);
        loop {
            leads.wait_for(|leads| *leads).await.context("the election ended")?;
            tracing::info!("leading");
            context.metrics.leading.set(1);
            tokio::select! {
                () = controller::run(client.clone(), Arc::clone(context), changes.clone()) => return Ok(()),
                lost = async { leads.wait_for(|leads| !leads).await.map(drop) } => lost.context("the election ended")?,
            }
            context.metrics.leading.set(0);
            tracing::warn!("another one leads");
        }
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

async fn client() -> anyhow::Result<Client> {
    Client::try_default().await.context("failed to find a cluster to talk to")
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
            Step::Remove(kind, name) => ("remove", *kind, name, None),
        };
        let _ = writeln!(text, "{}: {would}{verb} {kind} {name}", report.namespace);
        for difference in drift.iter().flat_map(|drift: &&Drift| &drift.differences) {
            let _ =
                writeln!(text, "  {}\n  - {}\n  + {}", difference.path, difference.found, difference.wanted);
        }
    }
    let state = match report.gate {
        _ if let Standing::Waits(waits) = &report.standing => format!("waits: {waits}"),
        Gate::Opened => "ready".to_owned(),
        _ if dry_run && !report.done.is_empty() => "would then be ready once its quota counts".to_owned(),
        _ if report.left.is_complete() => "ready".to_owned(),
        _ => format!("waits: {}", report.left.missing().join(", ")),
    };
    let _ = writeln!(text, "{}: {state}", report.namespace);
    text
}
