//! The options of sweeps, of which several commands have some: the policy, the stores, the Lease.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use codex_k8s_gc::clock::Clock;
use codex_k8s_gc::cluster::Cluster;
use codex_k8s_gc::install::InstallNamespace;
use codex_k8s_gc::runs::RunsSource;
use codex_k8s_gc::session::Session;
use codex_k8s_shared::audit::{AuditStore, StoreAddress};
use codex_k8s_shared::database::PgAddress;
use codex_k8s_shared::policy::RunPolicy;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::duration::duration;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::policy::PolicyArgs;
use crate::process;

/// The policy of sweeps.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CleanupArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Decide as usual but delete nothing, and leave a row for each namespace that would have gone
    #[arg(long, env = "CODEX_K8S_GUARD_DISABLED")]
    disabled: bool,
}

impl CleanupArgs {
    pub(crate) fn read(&self) -> Result<RunPolicy, Failure> {
        let mut policy = self.policy.read().or_exit(Exit::Usage)?;
        policy.cleanup.enabled &= !self.disabled;
        Ok(policy)
    }
}

/// Where rows are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// Where audit rows are kept: `sqlite:FILE`, or the platform's database as `postgres://USER@HOST/DATABASE`; without
    /// one, in a file below the user's state folder
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GUARD_AUDIT_STORE", hide_env_values = true)]
    audit_store: Option<String>,
}

/// The platform's runs.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// The platform's database, `postgres://USER@HOST/DATABASE`, with the runs in its table `agent_runs`
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GUARD_RUNS", hide_env_values = true)]
    runs: Option<String>,
}

impl RunsArgs {
    /// The database, if one is named.
    pub(crate) fn address(&self) -> Result<Option<PgAddress>, Failure> {
        // Not by clap, which would print an address that it cannot read, password and all.
        let address = self.runs.as_deref().map(str::parse).transpose();
        address.context("--runs names no database").or_exit(Exit::Usage)
    }

    /// Which runs have ended; without a database, leases alone count.
    pub(crate) fn source(&self) -> Result<RunsSource, Failure> {
        Ok(self.address()?.map_or(RunsSource::Nowhere, RunsSource::Platform))
    }
}

impl StoreArgs {
    /// The store that is meant. The folder of the usual file is made.
    pub(crate) fn address(&self) -> Result<StoreAddress, Failure> {
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
    pub(crate) async fn open_existing(&self) -> Result<Option<AuditStore>, Failure> {
        existing(&self.address()?).await
    }

    /// The store whose rows are asked for.
    pub(crate) async fn open_to_read(&self) -> Result<AuditStore, Failure> {
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
    Some(folder.join(crate::NAME))
}

/// The cluster of namespaces that a sweep lists and deletes.
#[derive(Debug, clap::Args)]
pub(crate) struct SweptArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The most requests to the API server in a second
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    requests_per_second: u32,
}

impl SweptArgs {
    pub(crate) async fn connect(&self) -> Result<Cluster, Failure> {
        let config = self.cluster.config().await.or_exit(Exit::Cluster)?;
        Cluster::new(config, self.requests_per_second).or_exit(Exit::Cluster)
    }
}

/// A sweep.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    cluster: SweptArgs,
    #[command(flatten)]
    install: InstallArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Who this is in audit rows
    #[arg(long, default_value = "codex-k8s-gc", value_name = "NAME", env = "CODEX_K8S_GUARD_ACTOR")]
    actor: String,
    /// How long another sweep is waited for
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    lease_timeout: Duration,
    /// Sweep without asking whether another sweep is at work
    #[arg(long, conflicts_with = "lease_timeout")]
    no_lease: bool,
}

impl SessionArgs {
    pub(crate) async fn session(&self) -> Result<Session, Failure> {
        let (store, runs) = (self.store.address()?, self.runs.source()?);
        let cluster = self.cluster.connect().await?;
        let pod = std::env::var("POD_NAME").ok();
        let install_namespace = self.install.install_namespace.clone();
        Ok(Session {
            install: InstallNamespace::new(
                cluster.client(),
                install_namespace.clone(),
                process::identity(pod.as_deref()),
            ),
            cluster,
            install_namespace,
            store,
            runs,
            actor: self.actor.clone(),
            clock: Clock::of_this_machine(),
            lease: (!self.no_lease).then_some(self.lease_timeout),
        })
    }
}
