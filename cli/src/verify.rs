//! `verify`: waits until the rules are enforced.

use std::time::Duration;

use anyhow::bail;
use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::registration::await_enforcement;
use kube::Client;

use crate::cluster::ClusterArgs;
use crate::duration::duration;
use crate::policy_file::PolicyArgs;
use crate::{kubernetes, output, process};

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard verify
  codex-k8s-guard verify --policy policy.yaml --wait 5s --context staging";

/// Wait until the API server enforces the rules
///
/// Sends a request that violates the rules until the API server denies it. The request is a dry run: nothing is stored.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Time to wait for enforcement
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    wait: Duration,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let policy = self.policy.read()?;
        process::runtime()?.block_on(async {
            let client = self.cluster.client()?;
            verify(&client, &policy, self.wait).await
        })
    }
}

/// Waits until the rules are enforced.
pub(super) async fn verify(client: &Client, policy: &RunPolicy, timeout: Duration) -> anyhow::Result<()> {
    output::print("waiting until a known-bad request is denied\n")?;
    if !await_enforcement(client, policy, timeout).await? {
        bail!(
            "the API server does not enforce the rules after {}: check that `serve` is running, that network policies and \
             firewalls let kube-apiserver connect to its port, and that the caBundle of the webhook configurations \
             verifies its certificate",
            GoDuration::from(timeout)
        );
    }
    kubernetes::note_missing(client).await;
    output::print("enforced\n")
}
