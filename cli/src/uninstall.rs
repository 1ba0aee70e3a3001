//! `purge`: what the programs leave in their own namespace is taken away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codex_k8s_shared::home::{AUTHORITY_SECRET, LEAF_SECRET};
use kube::Client;

use super::output;
use crate::purge::{Home, delete, in_use, leftovers};

/// How often those who still write are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Delete what the programs have made in their own namespace, after they are uninstalled: certificates, Leases, the
/// outcome of the last sweep. Audit rows are never deleted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The namespace that was theirs
    #[arg(long, default_value = "codex-k8s-guard", value_name = "NAMESPACE")]
    namespace: String,
    /// The Secret of the authority
    #[arg(long, value_name = "SECRET", default_value = AUTHORITY_SECRET)]
    authority_secret: String,
    /// The Secret of the leaf
    #[arg(long, value_name = "SECRET", default_value = LEAF_SECRET)]
    leaf_secret: String,
    /// Leave the certificates to somebody else, such as cert-manager, and do not look at them
    #[arg(long, conflicts_with_all = ["authority_secret", "leaf_secret"])]
    keep_secrets: bool,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// How long the programs may take to end, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.purge())
    }

    async fn purge(self) -> anyhow::Result<()> {
        let client = super::client().await?;
        self.await_end(&client).await?;
        let secrets = if self.keep_secrets { vec![] } else { vec![self.authority_secret, self.leaf_secret] };
        let home = Home { namespace: self.namespace, secrets };
        let all = leftovers(&client, &home)
            .await
            .with_context(|| format!("failed to find what is left in namespace {}", home.namespace))?;
        for found in &all {
            let told = match (found.kept, self.dry_run) {
                (Some(why), _) => format!("kept: {why}"),
                (None, true) => "would be deleted".to_owned(),
                (None, false) => {
                    let done = delete(&client, &home.namespace, found).await;
                    done.with_context(|| format!("failed to delete {found}"))?;
                    "deleted".to_owned()
                }
            };
            output::print(&format!("{found} {told}\n"))?;
        }
        if all.is_empty() {
            output::print(&format!("nothing is left in namespace {}\n", home.namespace))?;
        }
        Ok(())
    }

    async fn await_end(&self, client: &Client) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let found = in_use(client, &self.namespace)
                .await
                .with_context(|| format!("failed to see who works in namespace {}", self.namespace))?;
            if found.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= Duration::from_secs(self.wait) {
                bail!(
                    "nothing was deleted, for it is needed: after {} s there still is {}; uninstall first \
                     (`helm uninstall`, or `registration --delete` and `kubectl delete`)",
                    self.wait,
                    found.join(", ")
                );
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
