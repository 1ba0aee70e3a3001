//! The arguments of the certificate rotation.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use codex_k8s_certs::Leaf;
use codex_k8s_certs::plan::Settings;
use codex_k8s_shared::install::{AUTHORITY_SECRET, LEAF_SECRET};
use codex_k8s_webhook::reconcile::certificates::{Options, Where};
use codex_k8s_webhook::registration::Endpoint;
use http::Uri;

use crate::duration::duration;
use crate::register::{self, Service};

/// The shortest interval between checks of the certificates.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Options of the certificate rotation.
#[derive(Debug, clap::Args)]
pub(super) struct Certificates {
    /// Rotate the CA and the serving certificate in Secrets of the install namespace, and repair both webhook
    /// configurations
    #[arg(id = "certificates", long = "certificates", conflicts_with_all = ["once", "dry_run"])]
    managed: bool,
    /// Service of the webhook
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = register::service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
    service: Service,
    /// URL that the API server calls instead of the Service, such as `https://10.0.0.7:8443`
    #[arg(long, value_name = "URL", requires = "replica", requires = "certificates")]
    webhook_url: Option<String>,
    /// Replica outside the cluster, as ADDRESS:PORT, instead of the replicas behind the Service (can be repeated)
    #[arg(long, value_name = "ADDRESS", requires = "certificates")]
    replica: Vec<SocketAddr>,
    /// Secret of the CA; only this command reads it
    #[arg(long, value_name = "SECRET", default_value = AUTHORITY_SECRET)]
    authority_secret: String,
    /// Secret of the serving certificate, which the webhook mounts
    #[arg(long, value_name = "SECRET", default_value = LEAF_SECRET)]
    leaf_secret: String,
    /// Lifetime of a CA, from 24h to 876000h; the next one is created after two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "87600h", value_parser = authority_lifetime)]
    authority_lifetime: Duration,
    /// Lifetime of a serving certificate, from 24h to 19800h; the next one is issued after two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = leaf_lifetime)]
    leaf_lifetime: Duration,
    /// Time to wait until every API server trusts a new CA
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    propagation: Duration,
    /// Time to keep trusting the previous CA after its last serving certificate was replaced
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    authority_linger: Duration,
    /// Interval between checks of the certificates
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    certificate_interval: Duration,
}

impl Certificates {
    /// Returns the options of the certificate rotation in a namespace, if it is enabled.
    pub(super) fn options(&self, namespace: &str) -> anyhow::Result<Option<Options>> {
        if !self.managed {
            return Ok(None);
        }
        let Service { namespace: of_service, name } = self.service.clone();
        let replicas = match self.replica.as_slice() {
            [] => Where::Service { namespace: of_service.clone(), name: name.clone() },
            addresses => Where::Addresses(addresses.to_vec()),
        };
        let (endpoint, leaf) = if let Some(url) = &self.webhook_url {
            (Endpoint::Url(url.trim_end_matches('/').to_owned()), leaf_of(url)?)
        } else {
            let leaf = Leaf::of_service(&name, &of_service);
            (Endpoint::Service { namespace: of_service, name }, leaf)
        };
        let settings = Settings {
            authority_lifetime: self.authority_lifetime,
            leaf_lifetime: self.leaf_lifetime,
            propagation: self.propagation,
            linger: self.authority_linger,
            ..Settings::of(leaf)
        };
        Ok(Some(Options {
            namespace: namespace.to_owned(),
            authority: self.authority_secret.clone(),
            leaf: self.leaf_secret.clone(),
            endpoint,
            replicas,
            settings,
            interval: self.certificate_interval.max(SHORTEST_INTERVAL),
        }))
    }
}

/// Parses a lifetime of at most a hundred years.
fn authority_lifetime(text: &str) -> anyhow::Result<Duration> {
    lifetime(text, 36_500)
}

/// Parses a lifetime of at most 825 days, because verifiers reject certificates that are valid for longer.
fn leaf_lifetime(text: &str) -> anyhow::Result<Duration> {
    lifetime(text, 825)
}

fn lifetime(text: &str, days: u64) -> anyhow::Result<Duration> {
    let (found, longest) = (duration(text)?, 24 * days);
    let is_sensible = found >= Duration::from_hours(24) && found <= Duration::from_hours(longest);
    ensure!(is_sensible, "must be between 24h and {longest}h");
    Ok(found)
}

/// Returns the serving certificate for a URL.
fn leaf_of(url: &str) -> anyhow::Result<Leaf> {
    let parsed: Uri = url.parse()?;
    let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']);
    ensure!(!host.is_empty(), "--webhook-url: invalid value {url:?}: must be https://HOST:PORT");
    let mut leaf = Leaf { common_name: host.to_owned(), ..Leaf::default() };
    match host.parse() {
        Ok(address) => leaf.addresses.push(address),
        Err(_) => leaf.dns_names.push(host.to_owned()),
    }
    Ok(leaf)
}
