//! The cluster that a command uses.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{Cluster, Context, ExecAuthCluster, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::proxy::proxy;

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
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        self.found().context("failed to find a cluster")
    }

    /// Returns a client with the default timeouts, which allow a watch to be silent for minutes.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let config = self.config()?;
        Client::try_from(config).context("failed to create a client for the cluster")
    }

    fn found(&self) -> anyhow::Result<Config> {
        let kubeconfig = self.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        let of_kubeconfig = kubeconfig.map_err(Into::into).and_then(|found| self.of_kubeconfig(&found));
        if self.is_given() {
            return of_kubeconfig;
        }
        let mut config = of_kubeconfig.or_else(|error| {
            let mut config = Config::incluster().with_context(|| format!("{error:#}"))?;
            config.proxy_url = proxy(&config.cluster_url, None, variable)?;
            anyhow::Ok(config)
        })?;
        config.apply_debug_overrides();
        Ok(config)
    }

    /// Returns the configuration of a context. The client library's own conversion is not used, because it chooses the
    /// proxy by other rules than kubectl.
    fn of_kubeconfig(&self, kubeconfig: &Kubeconfig) -> anyhow::Result<Config> {
        let context = self.context.as_ref().or(kubeconfig.current_context.as_ref());
        let context = context.context("current-context: Required value")?;
        let (context, cluster) = parts(kubeconfig, context)?;
        let server = cluster.server.as_deref().context("server: Required value")?;
        let mut config = Config::new(server.parse().context("server: Invalid value: must be a URL")?);
        let user = |name: &String| kubeconfig.auth_infos.iter().find(|user| user.name == *name);
        let user = context.user.as_ref().and_then(user);
        // Like in client-go, a missing user is anonymous.
        config.auth_info = user.and_then(|user| user.auth_info.clone()).unwrap_or_default();
        let described = ExecAuthCluster::try_from(cluster)?;
        let authorities = described.certificate_authority_data.as_deref().map(authorities).transpose()?;
        config.root_cert = authorities;
        if let Some(exec) = config.auth_info.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
            exec.cluster = Some(described);
        }
        config.default_namespace = context.namespace.clone().unwrap_or(config.default_namespace);
        config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.disable_compression = cluster.disable_compression.unwrap_or(false);
        config.tls_server_name.clone_from(&cluster.tls_server_name);
        config.proxy_url = proxy(&config.cluster_url, cluster.proxy_url.as_deref(), variable)?;
        Ok(config)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns a context and its cluster.
fn parts<'a>(kubeconfig: &'a Kubeconfig, name: &str) -> anyhow::Result<(&'a Context, &'a Cluster)> {
    let named = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = named.and_then(|named| named.context.as_ref());
    let context = context.with_context(|| format!("contexts: Not found: {name:?}"))?;
    let named = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = named.and_then(|named| named.cluster.as_ref());
    Ok((context, cluster.with_context(|| format!("clusters: Not found: {:?}", context.cluster))?))
}

/// Parses the certificates of the CA.
fn authorities(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = CertificateDer::pem_slice_iter(pem).map(|found| found.map(|der| der.to_vec()));
    all.collect::<Result<_, _>>().context("certificate-authority-data: Invalid value: must be PEM")
}
