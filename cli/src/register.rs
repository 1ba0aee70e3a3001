//! `register`: applies or prints the two webhook configurations.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::registration::{Endpoint, apply, configurations, inject_ca_from};
use serde_json::Value;

use crate::cluster::ClusterArgs;
use crate::duration::duration;
use crate::policy::PolicyArgs;
use crate::verify::verify;
use crate::{output, process};

/// A reference to a Service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
}

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard register --policy policy.yaml --ca ca.crt
  codex-k8s-guard register --print > webhook-configurations.yaml
  codex-k8s-guard register --url https://127.0.0.1:8443 --ca ca.crt --wait 2m
  codex-k8s-guard register --inject-ca-from codex-k8s-guard/codex-k8s-webhook";

/// Apply the webhook configurations and wait until they are enforced, or print them
///
/// Applies a `MutatingWebhookConfiguration` and a `ValidatingWebhookConfiguration`, then sends a request that violates
/// the rules, as a dry run, until the API server denies it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Service of the webhook
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
    service: Service,
    /// URL to call instead of the Service, such as `https://127.0.0.1:8443`
    #[arg(long, conflicts_with = "service")]
    url: Option<String>,
    /// CA that the API server must trust, in PEM (default: keep the caBundle, which `reconcile --certificates` or
    /// cert-manager writes)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate of cert-manager whose CA cert-manager injects as the caBundle
    #[arg(long, value_parser = service, value_name = "NAMESPACE/NAME", conflicts_with = "ca")]
    inject_ca_from: Option<Service>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the configurations as YAML instead of applying them; needs no cluster
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    which: WhichArgs,
    /// Time to wait for enforcement
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    wait: Duration,
}

/// Option that selects one of the two configurations.
#[derive(Debug, clap::Args)]
pub(super) struct WhichArgs {
    /// Webhook configurations to use
    #[arg(long, value_enum, default_value = "both")]
    only: Only,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Both,
    Mutating,
    Validating,
}

impl WhichArgs {
    pub(super) fn mutating(&self) -> bool {
        self.only != Only::Validating
    }

    pub(super) fn validating(&self) -> bool {
        self.only != Only::Mutating
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let policy = self.policy.read()?;
        let configurations = self.configurations(&policy)?;
        if self.print {
            let documents: Vec<_> =
                configurations.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
            return output::print(&documents.join("---\n"));
        }
        process::runtime()?.block_on(self.register(&policy, configurations))
    }

    fn configurations(&self, policy: &RunPolicy) -> anyhow::Result<Vec<Value>> {
        let ca = self
            .ca
            .as_ref()
            .map(std::fs::read)
            .transpose()
            .context("--ca: failed to read the certificate authority")?;
        let endpoint = match &self.url {
            Some(url) => Endpoint::Url(url.trim_end_matches('/').to_owned()),
            None => Endpoint::Service {
                namespace: self.service.namespace.clone(),
                name: self.service.name.clone(),
            },
        };
        let (mutating, validating) = configurations(policy, &endpoint, ca.as_deref());
        let mut all: Vec<_> = [(self.which.mutating(), mutating), (self.which.validating(), validating)]
            .into_iter()
            .filter_map(|(is_meant, configuration)| is_meant.then_some(configuration))
            .collect();
        if let Some(Service { namespace, name }) = &self.inject_ca_from {
            for configuration in &mut all {
                inject_ca_from(configuration, namespace, name);
            }
        }
        Ok(all)
    }

    async fn register(&self, policy: &RunPolicy, configurations: Vec<Value>) -> anyhow::Result<()> {
        let client = self.cluster.client().await?;
        for configuration in configurations {
            let name = apply(&client, configuration).await?;
            output::print(&format!("{name} applied\n"))?;
        }
        if self.which.validating() {
            verify(&client, policy, self.wait).await?;
        }
        Ok(())
    }
}

/// Parses `NAMESPACE/NAME`.
pub(super) fn service(text: &str) -> Result<Service, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Service { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err(format!("found {text:?}, expected NAMESPACE/NAME")),
    }
}
