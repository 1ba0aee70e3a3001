//! The arguments of the keeper of certificates.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use codex_k8s_certs::Leaf;
use codex_k8s_certs::plan::Settings;
use codex_k8s_shared::home::{AUTHORITY_SECRET, LEAF_SECRET};
use http::Uri;

use crate::cli::registration::{self, Service};
use crate::reconcile::certificates::{Options, Where};
use crate::registration::Endpoint;

/// Who keeps the certificates, and of what.
#[derive(Debug, clap::Args)]
pub(super) struct Certificates {
    /// Keep authority and leaf in Secrets of the Lease's namespace, and both webhook configurations as they are to be
    #[arg(id = "certificates", long = "certificates", conflicts_with_all = ["once", "dry_run"])]
    wanted: bool,
    /// The Service of the webhook, as NAMESPACE/NAME
    #[arg(long, value_parser = registration::service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
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
    /// How long an authority is valid, in days; its successor comes after two thirds
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    authority_days: u32,
    /// How long a leaf is valid, in days; its successor comes after two thirds
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=825))]
    leaf_days: u32,
    /// How long every API server may take to trust a new authority, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    propagation: u64,
    /// How long the authority before is trusted after its last leaf was replaced, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    authority_linger: u64,
    /// How often the certificates are looked at, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30_000)]
    certificate_interval: u64,
}

impl Certificates {
    /// What is to be kept in a namespace, if anything is.
    pub(super) fn options(&self, namespace: &str) -> anyhow::Result<Option<Options>> {
        if !self.wanted {
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
            authority_lifetime: days(self.authority_days),
            leaf_lifetime: days(self.leaf_days),
            propagation: Duration::from_secs(self.propagation),
            linger: Duration::from_secs(self.authority_linger),
            ..Settings::of(leaf)
        };
        Ok(Some(Options {
            namespace: namespace.to_owned(),
            authority: self.authority_secret.clone(),
            leaf: self.leaf_secret.clone(),
            endpoint,
            replicas,
            settings,
            interval: Duration::from_millis(self.certificate_interval.max(10)),
        }))
    }
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
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
