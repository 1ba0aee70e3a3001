//! `register`: applies or prints the two webhook configurations.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::ValueEnum;
use codex_k8s_shared::install::PART_OF;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::registration::{Endpoint, Settings, apply, configurations, inject_ca_from};
use serde_json::Value;

use crate::cluster::ClusterArgs;
use crate::duration::duration;
use crate::policy_file::PolicyArgs;
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
  codex-k8s-guard register --webhook-timeout 5s --label team=platform
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
    settings: SettingsArgs,
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

/// Options for what `reconcile --certificates` keeps as `register` has written it.
#[derive(Debug, clap::Args)]
struct SettingsArgs {
    /// Time that the API server waits for the webhook, from 1s to 30s
    #[arg(long, default_value = "3s", value_name = "DURATION", value_parser = timeout_seconds)]
    webhook_timeout: u8,
    /// Label to set on the configurations (can be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = entry)]
    labels: Vec<(String, String)>,
    /// Annotation to set on the configurations (can be repeated)
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = entry)]
    annotations: Vec<(String, String)>,
}

impl SettingsArgs {
    fn settings(&self) -> Settings {
        Settings {
            timeout_seconds: self.webhook_timeout,
            labels: self.labels.iter().cloned().collect(),
            annotations: self.annotations.iter().cloned().collect(),
        }
    }
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
        let settings = self.settings.settings();
        for configuration in &mut all {
            settings.apply_to(configuration);
            if let Some(Service { namespace, name }) = &self.inject_ca_from {
                inject_ca_from(configuration, namespace, name);
            }
        }
        Ok(all)
    }

    async fn register(&self, policy: &RunPolicy, configurations: Vec<Value>) -> anyhow::Result<()> {
        let client = self.cluster.client_to_write()?;
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

/// Parses a timeout that the API server accepts.
fn timeout_seconds(text: &str) -> anyhow::Result<u8> {
    let found = duration(text)?;
    let seconds = u8::try_from(found.as_secs()).unwrap_or(u8::MAX);
    let is_allowed = found.subsec_nanos() == 0 && (1..=30).contains(&seconds);
    ensure!(is_allowed, "timeoutSeconds: must be between 1s and 30s, in whole seconds");
    Ok(seconds)
}

/// Parses `KEY=VALUE`. Keys that the program itself writes are forbidden.
fn entry(text: &str) -> anyhow::Result<(String, String)> {
    let entry = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = entry.ok_or_else(|| anyhow!("must be KEY=VALUE"))?;
    let is_ours = key == PART_OF.key || key.starts_with(keys::DOMAIN);
    ensure!(!is_ours, "metadata: Forbidden: {key} is written by codex-k8s-guard itself");
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_one_that_the_api_server_accepts() {
        for (text, seconds) in [("1s", 1), ("3s", 3), ("30s", 30), ("2000ms", 2)] {
            assert_eq!(timeout_seconds(text).unwrap(), seconds, "{text}");
        }
        for text in ["0s", "31s", "2500ms", "5m", "10h"] {
            let error = timeout_seconds(text).unwrap_err().to_string();
            assert!(error.starts_with("timeoutSeconds: must be between 1s and 30s"), "{text}: {error}");
        }
    }

    #[test]
    fn a_label_or_annotation_is_any_but_our_own() {
        let read = |text| entry(text).unwrap();
        assert_eq!(read("team=a=b"), ("team".to_owned(), "a=b".to_owned()));
        assert_eq!(read("empty="), ("empty".to_owned(), String::new()));
        for text in ["team", "=x", "app.kubernetes.io/part-of=x", "codex-k8s.dev/ca-bundle-confirmed=x"] {
            assert!(entry(text).is_err(), "{text}");
        }
    }
}
