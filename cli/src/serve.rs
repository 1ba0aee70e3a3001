//! `serve`: runs the webhook.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use codex_k8s_certs::resolver::Swap;
use codex_k8s_certs::{Callers, FileSource, ReloadableResolver};
use codex_k8s_shared::errors;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::engine::Engine;
use codex_k8s_webhook::metrics::Metrics;
use codex_k8s_webhook::namespaces::Namespaces;
use codex_k8s_webhook::server::trust::TRUSTED;
use codex_k8s_webhook::server::{self, Alpn, Limits, Readiness, Trust, health};
use jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::cluster::ClusterArgs;
use crate::duration::duration;
use crate::kubernetes;
use crate::policy_file::{self, PolicyArgs};
use crate::process::{self, HealthArgs, bind, signals};
use crate::telemetry::TelemetryArgs;

const CACHE: &str = "namespace cache";
const CERTIFICATE: &str = "certificate";

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard serve --tls-cert tls.crt --tls-key tls.key --policy policy.yaml
  codex-k8s-guard serve --tls-cert tls.crt --tls-key tls.key --listen 127.0.0.1:8443 --drain-delay 0s";

/// Serve admission reviews over HTTPS (in the cluster)
///
/// Policy and certificate are reloaded automatically when their files change.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true, after_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to serve admission reviews on; `[::]` is every IPv6 and IPv4 address
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443", env = "CODEX_K8S_GUARD_LISTEN")]
    listen: SocketAddr,
    #[command(flatten)]
    health: HealthArgs,
    /// Serving certificate in PEM, such as tls.crt of a mounted Secret
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_GUARD_TLS_CERT")]
    tls_cert: PathBuf,
    /// Private key of the serving certificate in PEM
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_GUARD_TLS_KEY")]
    tls_key: PathBuf,
    /// Accept only callers with a client certificate of this CA, in PEM; kube-apiserver presents one if its
    /// AdmissionConfiguration names it
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_GUARD_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// Common name that the client certificate must have (can be repeated: one of them must match)
    #[arg(long = "client-name", value_name = "NAME", requires = "client_ca")]
    client_names: Vec<String>,
    /// Be ready only while the caBundles of the webhook configurations of this name verify the serving certificate
    #[arg(long, value_name = "NAME", env = "CODEX_K8S_GUARD_VERIFY_CA_BUNDLE_OF")]
    verify_ca_bundle_of: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Interval between reads of policy and certificate
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    reload_interval: Duration,
    /// Time to keep accepting requests after SIGTERM
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    drain_delay: Duration,
    /// Time to let the last requests finish after --drain-delay
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    drain_timeout: Duration,
    /// Maximum number of concurrent connections
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    max_connections: usize,
    /// Maximum number of concurrent requests
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    max_in_flight: usize,
    /// Offer HTTP/1.1 only
    #[arg(long)]
    http1_only: bool,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

struct Process {
    client: Client,
    engine: Arc<Engine<Namespaces>>,
    namespaces: Namespaces,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    resolver: Arc<ReloadableResolver>,
    trust: Option<Trust>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = process::runtime()?;
        let _telemetry = self.telemetry.begin(
            "codex-k8s-webhook",
            self.cluster.log_filter().unwrap_or("info"),
            runtime.handle(),
        )?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let policy = self.policy.read()?;
        let listener = bind(self.listen)?;
        let health_listener = self.health.bind()?;
        let limits = self.limits()?;
        let process = Process::new(policy, &self)?;
        self.load_certificate(&process)?;
        tracing::info!(address = %listener.local_addr()?, policy = %process.engine.policy().hash, "serving");
        let shutdown = signals()?;
        let stop = CancellationToken::new();
        let health = health::serve(
            health_listener,
            process.readiness.clone(),
            {
                let metrics = Arc::clone(&process.metrics);
                Arc::new(move || metrics.render())
            },
            stop.clone(),
        );
        let reviews = server::serve(
            listener,
            Arc::clone(&process.resolver),
            Arc::clone(&process.engine),
            Arc::clone(&process.metrics),
            process.readiness.clone(),
            limits,
            shutdown,
        );
        // The first of these that ends, ends the process: without its cache or its health endpoint, a webhook is
        // useless.
        tokio::select! {
            ended = reviews => ended.context("failed to serve reviews")?,
            ended = health => ended.context("failed to serve health")?,
            () = process.follow_namespaces() => anyhow::bail!("the watch of namespaces ended"),
            () = self.reload_policy(&process) => anyhow::bail!("the reloading of the policy ended"),
            () = self.follow_trust(&process) => anyhow::bail!("the polling of the webhook configurations ended"),
            () = process.follow_version() => anyhow::bail!("the polling of the version ended"),
            () = self.reload_certificate(&process) => anyhow::bail!("the reloading of the certificate ended"),
        }
        stop.cancel();
        tracing::info!("drained");
        Ok(())
    }

    fn limits(&self) -> anyhow::Result<Limits> {
        Ok(Limits {
            connections: self.max_connections,
            in_flight: self.max_in_flight,
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
            alpn: if self.http1_only { Alpn::Http1 } else { Alpn::Both },
            callers: self.callers()?,
            ..Limits::default()
        })
    }

    fn callers(&self) -> anyhow::Result<Option<Arc<Callers>>> {
        let Some(file) = &self.client_ca else { return Ok(None) };
        let flag = || format!("--client-ca: failed to read {}", file.display());
        let authority = std::fs::read(file).with_context(flag)?;
        let callers = Callers::of(&authority, self.client_names.clone()).with_context(flag)?;
        Ok(Some(Arc::new(callers)))
    }

    fn certificate(&self) -> FileSource {
        FileSource::new(&self.tls_cert, &self.tls_key)
    }

    fn interval(&self) -> Duration {
        self.reload_interval.max(policy_file::SHORTEST_INTERVAL)
    }

    fn load_certificate(&self, process: &Process) -> anyhow::Result<()> {
        self.certificate().load(&process.resolver, Timestamp::now())?;
        process.certificate_in_force();
        Ok(())
    }

    async fn reload_certificate(&self, process: &Process) {
        let report = |loaded: Result<_, codex_k8s_certs::source::SourceError>| match loaded {
            Ok(Swap::Unchanged) => process.metrics.reloaded("certificate"),
            Ok(Swap::Swapped) => {
                tracing::info!("loaded a new certificate");
                process.metrics.reloaded("certificate");
                process.certificate_in_force();
                if let Some(trust) = &process.trust {
                    trust.renewed();
                }
            }
            Err(error) => {
                tracing::error!(
                    error = errors::chain(&error),
                    "failed to load the new certificate, keeping the old one"
                );
                process.metrics.reload_failed("certificate");
            }
        };
        self.certificate().watch(&process.resolver, self.interval(), report).await;
    }

    async fn follow_trust(&self, process: &Process) {
        match &process.trust {
            Some(trust) => trust.follow(self.interval()).await,
            None => std::future::pending().await,
        }
    }

    async fn reload_policy(&self, process: &Process) {
        let report = |read| process.replace_policy(read);
        policy_file::follow(self.policy.file(), self.interval(), report).await;
    }
}

impl Process {
    fn new(policy: RunPolicy, args: &Args) -> anyhow::Result<Self> {
        let client = args.cluster.client()?;
        let metrics = Arc::new(Metrics::default());
        let namespaces = Namespaces::new(client.clone());
        let engine = Engine::new(policy, namespaces.clone(), Arc::clone(&metrics));
        let readiness = Readiness::waiting_for(&[CACHE, CERTIFICATE]);
        let resolver = Arc::new(ReloadableResolver::empty());
        let trust = args.verify_ca_bundle_of.clone().map(|name| {
            readiness.set(TRUSTED, false);
            Trust::new(client.clone(), name, readiness.clone(), Arc::clone(&resolver), Arc::clone(&metrics))
        });
        Ok(Self { client, engine: Arc::new(engine), namespaces, metrics, readiness, resolver, trust })
    }

    async fn follow_version(&self) {
        kubernetes::follow(&self.client, &self.metrics.build, |minor| self.engine.set_kubernetes(minor))
            .await;
    }

    async fn follow_namespaces(&self) {
        self.namespaces.follow(&self.metrics, || self.readiness.set(CACHE, true)).await;
    }

    fn certificate_in_force(&self) {
        if let Some(not_after) = self.resolver.not_after() {
            self.metrics.certificate_not_after.set(not_after.as_duration().as_secs_f64());
            self.readiness.set(CERTIFICATE, true);
        }
    }

    fn replace_policy(&self, read: anyhow::Result<RunPolicy>) {
        match read {
            Ok(policy) => {
                self.engine.set_policy(policy);
                self.metrics.reloaded("policy");
                tracing::info!(policy = %self.engine.policy().hash, "loaded a new policy");
            }
            Err(error) => {
                tracing::error!(
                    error = errors::chain(&*error),
                    "failed to load the new policy, keeping the old one"
                );
                self.metrics.reload_failed("policy");
            }
        }
    }
}
