//! The arguments of the keeper of certificates.

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

/// The certificates are not inspected more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Who keeps the certificates, and of what.
#[derive(Debug, clap::Args)]
pub(super) struct Certificates {
    /// Keep authority and leaf in Secrets of the Lease's namespace, and both webhook configurations as they are to be
    #[arg(id = "certificates", long = "certificates", conflicts_with_all = ["once", "dry_run"])]
    managed: bool,
    /// The Service of the webhook, as NAMESPACE/NAME
    #[arg(long, value_parser = register::service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
    service: Service,
    /// An address that the API server calls instead of the Service, such as <https://10.0.0.7:8443>
    #[arg(long, requires = "replica", requires = "certificates")]
    webhook_url: Option<String>,
    /// A replica outside the cluster, as ADDRESS:PORT; instead of those behind the Service
    #[arg(long, value_name = "ADDRESS", requires = "certificates")]
    replica: Vec<SocketAddr>,
    /// The Secret of the authority; nobody but this command reads it
    #[arg(long, value_name = "SECRET", default_value = AUTHORITY_SECRET)]
    authority_secret: String,
    /// The Secret of the leaf, which the webhook mounts
    #[arg(long, value_name = "SECRET", default_value = LEAF_SECRET)]
    leaf_secret: String,
    /// How long an authority is valid, between 24h and 876000h; its successor comes after two thirds
    #[arg(long, value_name = "DURATION", default_value = "87600h", value_parser = authority_lifetime)]
    authority_lifetime: Duration,
    /// How long a leaf is valid, between 24h and 19800h; its successor comes after two thirds
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = leaf_lifetime)]
    leaf_lifetime: Duration,
    /// How long every API server may take to trust a new authority
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    propagation: Duration,
    /// How long the previous authority is trusted after its last leaf was replaced
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    authority_linger: Duration,
    /// How often the certificates are inspected
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    certificate_interval: Duration,
}

impl Certificates {
    /// What is to be kept in a namespace, if anything is.
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

/// A hundred years at most.
fn authority_lifetime(text: &str) -> anyhow::Result<Duration> {
    lifetime(text, 36_500)
}

/// 825 days at most: verifiers refuse leaves that are valid for longer.
fn leaf_lifetime(text: &str) -> anyhow::Result<Duration> {
    lifetime(text, 825)
}

fn lifetime(text: &str, days: u64) -> anyhow::Result<Duration> {
    let (found, longest) = (duration(text)?, 24 * days);
    let is_sensible = found >= Duration::from_hours(24) && found <= Duration::from_hours(longest);
    ensure!(is_sensible, "must be between 24h and {longest}h");
    Ok(found)
}

/// The leaf of whoever is called by an address.
fn leaf_of(url: &str) -> anyhow::Result<Leaf> {
    let parsed: Uri = url.parse()?;
    let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']);
    ensure!(!host.is_empty(), "--webhook-url: found {url:?}, expected https://HOST:PORT");
    let mut leaf = Leaf { common_name: host.to_owned(), ..Leaf::default() };
    match host.parse() {
        Ok(address) => leaf.addresses.push(address),
        Err(_) => leaf.dns_names.push(host.to_owned()),
    }
    Ok(leaf)
}
