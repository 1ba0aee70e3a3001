//! `unregister`: deletes the webhook configurations.

use codex_k8s_shared::install::WEBHOOK_CONFIGURATION;
use codex_k8s_webhook::registration::delete;

use crate::cluster::ClusterArgs;
use crate::register::WhichArgs;
use crate::{output, process};

/// Delete the webhook configurations
///
/// From then on, no rule is enforced. Objects that exist are not changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard unregister --context staging\n  codex-k8s-guard unregister --only mutating"
)]
pub(super) struct Args {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        process::runtime()?.block_on(self.unregister())
    }

    async fn unregister(&self) -> anyhow::Result<()> {
        let client = self.cluster.client_to_write()?;
        for (is_meant, kind) in [
            (self.which.validating(), "ValidatingWebhookConfiguration"),
            (self.which.mutating(), "MutatingWebhookConfiguration"),
        ] {
            if is_meant {
                let done = if delete(&client, kind).await? { "deleted" } else { "not found" };
                output::print(&format!("{kind}/{WEBHOOK_CONFIGURATION} {done}\n"))?;
            }
        }
        Ok(())
    }
}
