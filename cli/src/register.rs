//! `registration`: the two webhook configurations, printed or applied.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use codex_k8s_shared::policy::RunPolicy;

use super::{output, policy};
use crate::registration::{Endpoint, NAME, apply, await_enforcement, configurations, delete, inject_ca_from};

/// A Service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Print the webhook configurations, apply them, or take them away.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Service of the webhook, as NAMESPACE/NAME
    #[arg(long, value_parser = service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
    service: Service,
    /// An address to call instead of the Service, such as <https://127.0.0.1:8443>
    #[arg(long, conflicts_with = "service")]
    url: Option<String>,
    /// The certificate authority that the API server is to trust, in PEM. Without it whatever is trusted stays trusted: for
    /// `reconcile --certificates`, or cert-manager, to fill in
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The Certificate whose authority cert-manager is to fill in, as NAMESPACE/NAME
    #[arg(long, value_parser = service, value_name = "CERTIFICATE", conflicts_with = "ca")]
    inject_ca_from: Option<Service>,
    /// The policy, whose prefixes and identities the conditions name
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_WEBHOOK_POLICY")]
    policy: Option<PathBuf>,
    /// Apply the configurations with the current kubeconfig, and wait until they are enforced
    #[arg(long)]
    apply: bool,
    /// Delete the configurations with the current kubeconfig: nothing is guarded from then on
    #[arg(long, conflicts_with_all = ["apply", "ca", "inject_ca_from", "probe"])]
    delete: bool,
    /// Wait until the rules are enforced, and change nothing
    #[arg(long, conflicts_with = "apply")]
    probe: bool,
    /// Which of the two configurations
    #[arg(long, value_enum, default_value = "both")]
    only: Only,
    /// How long to wait for enforcement, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Both,
    Mutating,
    Validating,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if self.delete {
            return super::runtime()?.block_on(self.take_away());
        }
        let policy = self.policy.as_deref().map(policy::read).transpose()?.unwrap_or_default();
        let ca = self
            .ca
            .as_ref()
            .map(std::fs::read)
            .transpose()
            .context("failed to read the certificate authority")?;
        let endpoint = match &self.url {
            Some(url) => Endpoint::Url(url.trim_end_matches('/').to_owned()),
            None => Endpoint::Service {
                namespace: self.service.namespace.clone(),
                name: self.service.name.clone(),
            },
        };
        let (mutating, validating) = configurations(&policy, &endpoint, ca.as_deref());
        let mut wanted: Vec<_> = [(Only::Mutating, mutating), (Only::Validating, validating)]
            .into_iter()
            .filter(|(which, _)| self.only == Only::Both || self.only == *which)
            .map(|(_, configuration)| configuration)
            .collect();
        if let Some(Service { namespace, name }) = &self.inject_ca_from {
            for configuration in &mut wanted {
                inject_ca_from(configuration, namespace, name);
            }
        }
        if self.probe {
            wanted.clear();
        }
        if self.apply || self.probe {
            return super::runtime()?.block_on(self.install(&policy, wanted));
        }
        let documents: Vec<_> = wanted.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
        output::print(&documents.join("---\n"))
    }

    async fn install(&self, policy: &RunPolicy, wanted: Vec<serde_json::Value>) -> anyhow::Result<()> {
        let client = super::client().await?;
        let validating = self.only != Only::Mutating;
        for configuration in wanted {
            let name = apply(&client, configuration).await?;
            output::print(&format!("{name} applied\n"))?;
        }
        if validating {
            output::print("waiting until a known-bad request is refused\n")?;
            let patience = Duration::from_secs(self.wait);
            if !await_enforcement(&client, policy, patience).await? {
                bail!(
                    "the API server does not enforce the rules after {} s: does `serve` run, is it reached, and does the \
                     caBundle of the configurations vouch for its certificate?",
                    self.wait
                );
            }
            output::print("enforced\n")?;
        }
        Ok(())
    }
}

impl Args {
    async fn take_away(&self) -> anyhow::Result<()> {
        let client = super::client().await?;
        for (which, kind) in [
            (Only::Validating, "ValidatingWebhookConfiguration"),
            (Only::Mutating, "MutatingWebhookConfiguration"),
        ] {
            if self.only == Only::Both || self.only == which {
                let told = if delete(&client, kind).await? { "deleted" } else { "was not there" };
                output::print(&format!("{kind}/{NAME} {told}\n"))?;
            }
        }
        Ok(())
    }
}

/// `NAMESPACE/NAME`.
pub(super) fn service(text: &str) -> Result<Service, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Service { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err(format!("found {text:?}, expected NAMESPACE/NAME")),
    }
}
