//! `uninstall`: deletes the objects that the program leaves in its install namespace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codex_k8s_shared::install::{AUTHORITY_SECRET, LEAF_SECRET};
use codex_k8s_shared::lease::GoDuration;
use codex_k8s_webhook::uninstall::{InstallNamespace, delete, in_use, leftovers};
use kube::Client;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::duration::duration;
use crate::{output, process};

/// The interval between checks for programs that are still running.
const INTERVAL: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard uninstall --dry-run
  codex-k8s-guard uninstall --guard-namespace codex-k8s-guard --wait 5m
  codex-k8s-guard uninstall --keep-secrets";

/// Delete the objects that the program leaves in the install namespace
///
/// Run it after the chart is uninstalled. Deletes certificates, Leases and the outcome of the last sweep. Audit rows
/// are never deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    /// Secret of the CA
    #[arg(long, value_name = "SECRET", default_value = AUTHORITY_SECRET)]
    authority_secret: String,
    /// Secret of the serving certificate
    #[arg(long, value_name = "SECRET", default_value = LEAF_SECRET)]
    leaf_secret: String,
    /// Keep the certificates, for example because cert-manager owns them; their Secrets are not read
    #[arg(long, conflicts_with_all = ["authority_secret", "leaf_secret"])]
    keep_secrets: bool,
    /// Print the objects that would be deleted, without deleting them
    #[arg(long)]
    dry_run: bool,
    /// Time to wait for the installed programs to end
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    wait: Duration,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        process::runtime()?.block_on(self.uninstall())
    }

    async fn uninstall(self) -> anyhow::Result<()> {
        let client = self.cluster.client_to_write()?;
        self.await_end(&client).await?;
        let secrets = if self.keep_secrets { vec![] } else { vec![self.authority_secret, self.leaf_secret] };
        let install = InstallNamespace { namespace: self.install.name().to_owned(), secrets };
        let all = leftovers(&client, &install)
            .await
            .with_context(|| format!("failed to list the leftovers in namespace {}", install.namespace))?;
        for found in &all {
            let outcome = match (found.retained, self.dry_run) {
                (Some(why), _) => format!("kept: {why}"),
                (None, true) => "would be deleted".to_owned(),
                (None, false) => {
                    let done = delete(&client, &install.namespace, found).await;
                    done.with_context(|| format!("failed to delete {found}"))?;
                    "deleted".to_owned()
                }
            };
            output::print(&format!("{found} {outcome}\n"))?;
        }
        if all.is_empty() {
            output::print(&format!("nothing is left in namespace {}\n", install.namespace))?;
        }
        Ok(())
    }

    async fn await_end(&self, client: &Client) -> anyhow::Result<()> {
        let begun = Instant::now();
        let namespace = self.install.name();
        loop {
            let found = in_use(client, namespace)
                .await
                .with_context(|| format!("failed to list the running programs in namespace {namespace}"))?;
            if found.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= self.wait {
                bail!(
                    "nothing was deleted, because the installation is still in use: after {}, found {}; uninstall the chart \
                     first (`helm uninstall`, or `codex-k8s-guard unregister` and `kubectl delete`)",
                    GoDuration::from(self.wait),
                    found.join(", ")
                );
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
