//! The options of sweeps, parts of which several commands share: policy, stores, Lease.

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
use crate::policy_file::PolicyArgs;
use crate::process;
use crate::remote::Own;

/// Options of the sweep policy.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CleanupArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Delete nothing, but write an audit row for each namespace that would be deleted
    #[arg(long, env = "CODEX_K8S_GUARD_DISABLED")]
    disabled: bool,
}

impl CleanupArgs {
    /// The option that names the policy.
    pub(crate) fn own(&self) -> Own {
        Own { name: "--policy", is_given: self.policy.file().is_some(), is_required: true }
    }

    pub(crate) fn read(&self) -> Result<RunPolicy, Failure> {
        let mut policy = self.policy.read().or_exit(Exit::Usage)?;
        policy.cleanup.enabled &= !self.disabled;
        Ok(policy)
    }
}

/// Option that names the audit store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// Audit store: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GUARD_AUDIT_STORE", hide_env_values = true)]
    audit_store: Option<String>,
}

/// Option that names the platform's database.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Database of the platform with its runs, table `agent_runs`, as `postgres://USER@HOST/DATABASE`
    #[arg(long, value_name = "ADDRESS", env = "CODEX_K8S_GUARD_RUNS", hide_env_values = true)]
    runs: Option<String>,
}

impl RunsArgs {
    /// The option, for a command that runs on this machine or in the installation.
    pub(crate) fn own(&self) -> Own {
        Own { name: "--runs", is_given: self.runs.is_some(), is_required: false }
    }

    /// Returns the address of the database, if one is named.
    pub(crate) fn address(&self) -> Result<Option<PgAddress>, Failure> {
        // Not parsed by clap, which would print an invalid address with its password.
        let address = self.runs.as_deref().map(str::parse).transpose();
        address.context("--runs: not a valid database address").or_exit(Exit::Usage)
    }

    /// Returns the source that reports which runs have ended. Without a database, only leases count.
    pub(crate) fn source(&self) -> Result<RunsSource, Failure> {
        Ok(self.address()?.map_or(RunsSource::Nowhere, RunsSource::Platform))
    }
}

/// Parses the value of `--audit-store`. clap does not, because it would print an invalid address with its password.
pub(crate) fn store_address(text: &str) -> anyhow::Result<StoreAddress> {
    text.parse().context("--audit-store: not a valid address")
}

impl StoreArgs {
    /// Returns the address of the audit store.
    pub(crate) fn address(&self) -> Result<StoreAddress, Failure> {
        let address = self.audit_store.as_deref();
        let address =
            address.context("--audit-store: Required value: sqlite:FILE or postgres://USER@HOST/DATABASE");
        address.and_then(store_address).or_exit(Exit::Usage)
    }

    /// The option, for a command that runs on this machine or in the installation.
    pub(crate) fn own(&self, is_required: bool) -> Own {
        Own { name: "--audit-store", is_given: self.audit_store.is_some(), is_required }
    }

    /// Opens the store, if it exists.
    pub(crate) async fn open_existing(&self) -> Result<Option<AuditStore>, Failure> {
        AuditStore::open_existing(&self.address()?).await.or_exit(Exit::Database)
    }

    /// Opens the store to read its rows; fails if it does not exist.
    pub(crate) async fn open_to_read(&self) -> Result<AuditStore, Failure> {
        let address = self.address()?;
        let missing = || {
            format!(
                "found no audit rows at {address}: no sweep has written there yet; name another store with \
                 --audit-store"
            )
        };
        let store = AuditStore::open_existing(&address).await.or_exit(Exit::Database)?;
        store.with_context(missing).or_exit(Exit::Database)
    }
}

/// Options of the cluster whose namespaces a sweep lists and deletes.
#[derive(Debug, clap::Args)]
pub(crate) struct SweepClusterArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Maximum number of requests to the API server per second
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    requests_per_second: u32,
}

impl SweepClusterArgs {
    /// The options that select the cluster.
    pub(crate) const fn args(&self) -> &ClusterArgs {
        &self.cluster
    }

    pub(crate) fn connect(&self) -> Result<Cluster, Failure> {
        let config = self.cluster.config().or_exit(Exit::Cluster)?;
        Cluster::new(config, self.requests_per_second).or_exit(Exit::Cluster)
    }
}

/// Options of a sweep.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    cluster: SweepClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Actor to write to audit rows
    #[arg(long, default_value = "codex-k8s-gc", value_name = "NAME", env = "CODEX_K8S_GUARD_ACTOR")]
    actor: String,
    /// Time to wait for another sweep to end
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    lease_timeout: Duration,
    /// Sweep without taking the Lease, even if another sweep is running
    #[arg(long, conflicts_with = "lease_timeout")]
    no_lease: bool,
}

impl SessionArgs {
    /// The options that name resources of this machine.
    pub(crate) fn own(&self, is_dry_run: bool) -> [Own; 2] {
        [self.store.own(!is_dry_run), self.runs.own()]
    }

    /// The cluster and the install namespace.
    pub(crate) const fn target(&self) -> (&ClusterArgs, &InstallArgs) {
        (self.cluster.args(), &self.install)
    }

    /// Connects to the cluster and the stores. A dry run opens no audit store, so that none needs to be named.
    pub(crate) fn session(&self, is_dry_run: bool) -> Result<Session, Failure> {
        let is_named = self.store.audit_store.is_some();
        let store = if is_dry_run && !is_named {
            StoreAddress::Sqlite(PathBuf::new())
        } else {
            self.store.address()?
        };
        let runs = self.runs.source()?;
        let cluster = self.cluster.connect()?;
        let pod = std::env::var("POD_NAME").ok();
        let install_namespace = self.install.name().to_owned();
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
