//! Reports about the version of the API server.

use std::time::Duration;

use codex_k8s_shared::build_info::BuildInfo;
use codex_k8s_shared::errors;
use codex_k8s_webhook::kubernetes::{self, Version};
use kube::Client;

use crate::output;

/// The interval of the reads: an upgrade does not restart this program.
const INTERVAL: Duration = Duration::from_mins(5);
/// The pause after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Reads the version of the API server forever, and exports it. Logs a new minor version and what it lacks, and passes it
/// on.
pub(super) async fn follow(client: &Client, build: &BuildInfo, mut on_change: impl FnMut(u32)) {
    let mut last = None;
    loop {
        let delay = match kubernetes::version(client).await {
            Ok(version) => {
                build.kubernetes(&version.full);
                if let Some(minor) = version.minor
                    && last.replace(minor) != Some(minor)
                {
                    tracing::info!(version = version.full, "connected to Kubernetes");
                    for line in kubernetes::describe_missing(minor) {
                        tracing::warn!("{line}");
                    }
                    on_change(minor);
                }
                INTERVAL
            }
            Err(error) => {
                tracing::debug!(
                    error = errors::chain(&error),
                    "failed to read the version of the API server"
                );
                RETRY_DELAY
            }
        };
        tokio::time::sleep(delay).await;
    }
}

/// Prints what the version of the API server lacks, or why that is unknown.
pub(super) async fn note_missing(client: &Client) {
    match kubernetes::version(client).await {
        Ok(Version { minor: Some(minor), .. }) => {
            for line in kubernetes::describe_missing(minor) {
                output::note(&line);
            }
        }
        Ok(Version { full, .. }) => output::warn(&format!(
            "version {full:?} of the API server: no minor version is in it; features that it lacks are unknown"
        )),
        Err(error) => output::warn(&format!(
            "failed to read the version of the API server; features that it lacks are unknown: {}",
            errors::chain(&error)
        )),
    }
}
