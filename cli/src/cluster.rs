//! The cluster that a command uses.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Options that select the cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file (default: `$KUBECONFIG`, then ~/.kube/config, then the ServiceAccount of the Pod)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Kubeconfig context (default: the current context)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Option that names the install namespace.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InstallArgs {
    /// Namespace that codex-k8s-guard is installed in, with its Leases, Secrets and the outcome of the last sweep
    #[arg(long, default_value = "codex-k8s-guard", value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub(crate) install_namespace: String,
}

impl ClusterArgs {
    /// True if a cluster is named on the command line.
    pub(crate) const fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Returns the client configuration of the cluster.
    pub(crate) async fn config(&self) -> anyhow::Result<Config> {
        self.found().await.context("failed to find a cluster")
    }

    /// Returns a client with the default timeouts, which allow a watch to be silent for minutes.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = self.config().await?;
        Client::try_from(config).context("failed to create a client for the cluster")
    }

    async fn found(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Ok(match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        })
    }
}
