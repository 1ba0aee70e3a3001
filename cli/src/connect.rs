//! What several commands are told: the cluster, the policy, the stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use codex_k8s_shared::audit::{AuditStore, StoreAddress};
use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::policy::RunPolicy;

use super::exit::{Exit, Failure, OrExit};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::home::Home;
use crate::runs::RunsSource;
use crate::session::Session;

/// The policy.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PolicyArgs {
    /// The policy; the platform's own values without one
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_GC_POLICY")]
    policy: Option<PathBuf>,
    /// Decide as usual but delete nothing, and leave a row for each namespace that would have gone
    #[arg(long, env = "CODEX_K8S_GC_DISABLED")]
    disabled: bool,
}

impl PolicyArgs {
    pub(super) fn read(&self) -> Result<RunPolicy, Failure> {
        let mut policy = match &self.policy {
            Some(file) => read(file).or_exit(Exit::Usage)?,
            None => RunPolicy::default(),
        };
        policy.cleanup.enabled &= !self.disabled;
        Ok(policy)
    }
}

fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    RunPolicy::from_yaml(&text).with_context(|| format!("{} is no usable policy", file.display()))
}

/// Where rows are kept.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Where audit rows are kept: `sqlite:FILE`, or the platform's database as `postgres://USER@HOST/DATABASE`; without
    /// one, in a file below the user's state folder
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GC_AUDIT_STORE", hide_env_values = true)]
    audit_store: Option<String>,
}

/// The platform's runs.
#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    /// The platform's database, `postgres://USER@HOST/DATABASE`, whose table `agent_runs` tells which runs have ended;
    /// without one, leases alone count
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GC_RUNS", hide_env_values = true)]
    runs: Option<String>,
}

impl RunsArgs {
    pub(super) fn source(&self) -> Result<RunsSource, Failure> {
        let Some(address) = &self.runs else { return Ok(RunsSource::Nowhere) };
        // Not by clap, which would print an address that it cannot read, password and all.
        let address = address.parse().context("--runs names no database").or_exit(Exit::Usage)?;
        Ok(RunsSource::Platform(address))
    }
}

impl StoreArgs {
    /// The store that is meant. The folder of the usual file is made.
    pub(super) fn address(&self) -> Result<StoreAddress, Failure> {
        if let Some(address) = &self.audit_store {
            return address.parse().context("--audit-store names no store").or_exit(Exit::Usage);
        }
        let folder = state_folder()
            .context(
                "neither XDG_STATE_HOME nor HOME is set; say where rows are kept: --audit-store sqlite:FILE",
            )
            .or_exit(Exit::Usage)?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to make {}", folder.display()))
            .or_exit(Exit::Database)?;
        Ok(StoreAddress::Sqlite(folder.join("audit.db")))
    }

    /// The store, if there is one.
    pub(super) async fn open_existing(&self) -> Result<Option<AuditStore>, Failure> {
        existing(&self.address()?).await
    }

    /// The store whose rows are asked for.
    pub(super) async fn open_to_read(&self) -> Result<AuditStore, Failure> {
        let address = self.address()?;
        let missing = || {
            format!(
                "there are no audit rows at {address}: nothing has swept yet that writes there; --audit-store names \
                 another place"
            )
        };
        existing(&address).await?.with_context(missing).or_exit(Exit::Database)
    }
}

/// A store that is there. A file is not made: whoever only reads may be somebody whose files the collector cannot write.
async fn existing(address: &StoreAddress) -> Result<Option<AuditStore>, Failure> {
    if let StoreAddress::Sqlite(file) = address {
        let is_there = file.try_exists().with_context(|| format!("failed to look for {}", file.display()));
        if !is_there.or_exit(Exit::Database)? {
            return Ok(None);
        }
    }
    AuditStore::open(address).await.map(Some).or_exit(Exit::Database)
}

fn state_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(folder.join("codex-k8s-gc"))
}

/// The cluster.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Our own namespace: of the Lease that lets one sweep at a time, and of the last sweep's outcome
    #[arg(long, default_value = "codex-k8s-guard", value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    namespace: String,
    /// The most requests to the API server in a second
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    requests_per_second: u32,
}

impl ClusterArgs {
    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        Cluster::connect(self.requests_per_second).await.or_exit(Exit::Cluster)
    }
}

/// A sweep.
#[derive(Debug, clap::Args)]
pub(super) struct SessionArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Who this is in audit rows
    #[arg(long, default_value = "codex-k8s-gc", value_name = "NAME", env = "CODEX_K8S_GC_ACTOR")]
    actor: String,
    /// How long another sweep is waited for
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    lease_timeout: Duration,
    /// Sweep without asking whether another sweep is at work
    #[arg(long, conflicts_with = "lease_timeout")]
    no_lease: bool,
}

impl SessionArgs {
    pub(super) async fn session(&self) -> Result<Session, Failure> {
        let (store, runs) = (self.store.address()?, self.runs.source()?);
        let cluster = self.cluster.connect().await?;
        let home_name = self.cluster.namespace.clone();
        Ok(Session {
            home: Home::new(cluster.client(), home_name.clone(), identity()),
            cluster,
            home_name,
            store,
            runs,
            actor: self.actor.clone(),
            clock: Clock::of_this_machine(),
            lease: (!self.no_lease).then_some(self.lease_timeout),
        })
    }
}

/// Who this process is in the Lease.
fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    format!("{}-{}", host.unwrap_or_default().trim(), std::process::id())
}

/// A duration as Go writes it.
pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration = text.parse::<GoDuration>().map_err(|error| anyhow!("{error}; expected 90s, 5m or 24h"))?;
    Ok(duration.into())
}
