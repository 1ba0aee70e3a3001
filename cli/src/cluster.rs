//! The cluster that a command uses.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// The cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig; `KUBECONFIG`, ~/.kube/config or the Pod's ServiceAccount without it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one without it
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The namespace that the program itself is installed in.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InstallArgs {
    /// The namespace that the program is installed in: it has our own Leases, Secrets and the outcome of the last sweep
    #[arg(long, default_value = "codex-k8s-guard", value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub(crate) install_namespace: String,
}

impl ClusterArgs {
    /// Whether a cluster is named on the command line.
    pub(crate) const fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// How to reach the cluster.
    pub(crate) async fn config(&self) -> anyhow::Result<Config> {
        self.found().await.context("failed to find a cluster to talk to")
    }

    /// A client with the usual timeouts, which let a watch be silent for minutes.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = self.config().await?;
        Client::try_from(config).context("failed to find a cluster to talk to")
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
