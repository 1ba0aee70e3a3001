//! The cluster that a command uses.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use codex_k8s_shared::install::DEFAULT_NAMESPACE;
use codex_k8s_shared::telemetry;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::duration::duration;
use crate::proxy::proxy;
use crate::{kubeconfig, output};

const HEADING: &str = "Cluster options";

/// Options that select the cluster and the user, as kubectl has them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file (default: the files of `$KUBECONFIG`, then ~/.kube/config, then the ServiceAccount of the Pod)
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    kubeconfig: Option<PathBuf>,
    /// Kubeconfig context (default: the current context)
    #[arg(long, value_name = "NAME", help_heading = HEADING, add = ArgValueCandidates::new(kubeconfig::contexts))]
    context: Option<String>,
    /// Kubeconfig cluster (default: that of the context)
    #[arg(long, value_name = "NAME", help_heading = HEADING, add = ArgValueCandidates::new(kubeconfig::clusters))]
    cluster: Option<String>,
    /// Kubeconfig user (default: that of the context)
    #[arg(long, value_name = "NAME", help_heading = HEADING, add = ArgValueCandidates::new(kubeconfig::users))]
    user: Option<String>,
    /// User or ServiceAccount to impersonate
    #[arg(long = "as", value_name = "USER", help_heading = HEADING)]
    impersonate: Option<String>,
    /// Group to impersonate (can be repeated)
    #[arg(long = "as-group", value_name = "GROUP", help_heading = HEADING, requires = "impersonate")]
    impersonate_groups: Vec<String>,
    /// Timeout for a response of the API server; 0 for none
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = HEADING)]
    request_timeout: Option<Duration>,
    /// Level of the log messages on standard error, such as `debug` for each request; `RUST_LOG` overrides it (default:
    /// `info` for serve, reconcile and daemon, none for other commands)
    #[arg(long, short = 'v', value_enum, value_name = "LEVEL", help_heading = HEADING)]
    log_level: Option<LogLevel>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Option that names the install namespace.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InstallArgs {
    /// Namespace that codex-k8s-guard is installed in (default: found by its labels, or codex-k8s-guard)
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", help_heading = HEADING)]
    guard_namespace: Option<String>,
}

impl InstallArgs {
    /// Returns the namespace, if one is named.
    pub(crate) fn named(&self) -> Option<&str> {
        self.guard_namespace.as_deref()
    }

    /// Returns the namespace that is named, or the default one, for programs that do not search.
    pub(crate) fn name(&self) -> &str {
        self.named().unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// A cluster that was found. Its display form is for people: the context and the address.
pub(crate) struct Target {
    pub(crate) config: Config,
    context: Option<String>,
}

impl Target {
    /// Returns a client with the default timeouts, which allow a watch to be silent for minutes.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::try_from(self.config.clone()).context("failed to create a client for the cluster")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(out, "context {context} ({})", self.config.cluster_url),
            None => write!(out, "the cluster of this Pod"),
        }
    }
}

impl ClusterArgs {
    /// True if a cluster is named on the command line.
    pub(crate) const fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.cluster.is_some() || self.user.is_some()
    }

    /// Returns the client configuration of the cluster.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(self.target()?.config)
    }

    /// Returns a client with the default timeouts.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.target()?.client()
    }

    /// Returns a client for a command that writes, after a note about the context of the kubeconfig.
    pub(crate) fn client_to_write(&self) -> anyhow::Result<Client> {
        let target = self.target()?;
        if target.context.is_some() {
            output::note(&format!("using {target}"));
        }
        target.client()
    }

    /// Returns the filter of log messages, if one is given.
    pub(crate) fn log_filter(&self) -> Option<&'static str> {
        self.log_level.map(LogLevel::filter)
    }

    /// Returns the cluster. Log messages are written from then on, if that is requested.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        if let Some(filter) = self.log_filter() {
            telemetry::begin_interactive(filter);
        }
        let mut target = self.found().context("failed to find a cluster")?;
        self.limit(&mut target.config);
        Ok(target)
    }

    /// Sets the user to impersonate, and the timeout.
    fn limit(&self, config: &mut Config) {
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            let groups = &self.impersonate_groups;
            config.auth_info.impersonate_groups = (!groups.is_empty()).then(|| groups.clone());
        }
        if let Some(timeout) = self.request_timeout {
            config.read_timeout = (!timeout.is_zero()).then_some(timeout);
            config.reset_reader_on_write = true;
        }
    }

    fn found(&self) -> anyhow::Result<Target> {
        let kubeconfig = self.kubeconfig.as_ref().map_or_else(kubeconfig::read, Kubeconfig::read_from);
        let of_kubeconfig = kubeconfig.map_err(Into::into).and_then(|found| self.of_kubeconfig(&found));
        if self.is_given() {
            return of_kubeconfig;
        }
        let mut target = of_kubeconfig.or_else(|error| {
            let mut config = Config::incluster().with_context(|| format!("{error:#}"))?;
            config.proxy_url = proxy(&config.cluster_url, None, variable)?;
            anyhow::Ok(Target { config, context: None })
        })?;
        target.config.apply_debug_overrides();
        Ok(target)
    }

    /// Returns the configuration of a context. The client library's own conversion is not used, because it chooses the
    /// proxy by other rules than kubectl.
    fn of_kubeconfig(&self, kubeconfig: &Kubeconfig) -> anyhow::Result<Target> {
        let name = self.context.as_ref().or(kubeconfig.current_context.as_ref());
        let name = name.context("current-context: Required value")?;
        let context = context(kubeconfig, name)?;
        let cluster = cluster(kubeconfig, self.cluster.as_ref().unwrap_or(&context.cluster))?;
        let server = cluster.server.as_deref().context("server: Required value")?;
        let mut config = Config::new(server.parse().context("server: Invalid value: must be a URL")?);
        config.auth_info = self.auth_info(kubeconfig, context)?;
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
        Ok(Target { config, context: Some(name.clone()) })
    }

    /// Returns the credentials. As in client-go, a user of the context that is missing is anonymous.
    fn auth_info(&self, kubeconfig: &Kubeconfig, context: &Context) -> anyhow::Result<AuthInfo> {
        let find = |name: &String| kubeconfig.auth_infos.iter().find(|user| user.name == *name);
        let user = match &self.user {
            Some(name) => Some(find(name).with_context(|| format!("users: Not found: {name:?}"))?),
            None => context.user.as_ref().and_then(find),
        };
        Ok(user.and_then(|user| user.auth_info.clone()).unwrap_or_default())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn context<'a>(kubeconfig: &'a Kubeconfig, name: &str) -> anyhow::Result<&'a Context> {
    let named = kubeconfig.contexts.iter().find(|context| context.name == name);
    named.and_then(|named| named.context.as_ref()).with_context(|| format!("contexts: Not found: {name:?}"))
}

fn cluster<'a>(kubeconfig: &'a Kubeconfig, name: &str) -> anyhow::Result<&'a Cluster> {
    let named = kubeconfig.clusters.iter().find(|cluster| cluster.name == name);
    named.and_then(|named| named.cluster.as_ref()).with_context(|| format!("clusters: Not found: {name:?}"))
}

/// Parses the certificates of the CA.
fn authorities(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = CertificateDer::pem_slice_iter(pem).map(|found| found.map(|der| der.to_vec()));
    all.collect::<Result<_, _>>().context("certificate-authority-data: Invalid value: must be PEM")
}
