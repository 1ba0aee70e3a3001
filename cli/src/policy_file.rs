//! The policy file: read, parsed, and followed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::rules::catalogue;

/// Option that names the policy.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PolicyArgs {
    /// Policy file (default: the defaults that `policy print-defaults` prints)
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_GUARD_POLICY")]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// Reads the policy and checks it against the rules that exist.
    pub(crate) fn read(&self) -> anyhow::Result<RunPolicy> {
        Ok(self.file().map(read).transpose()?.unwrap_or_default())
    }

    /// Returns the policy file, if one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.policy.as_deref()
    }
}

/// Reads a policy file and checks it against the rules that exist.
pub(crate) fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} is not a valid policy", file.display()))
}

/// The shortest interval between reads of a file.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Polls a policy file forever, and reports each change.
pub(crate) async fn follow(
    file: Option<&Path>,
    interval: Duration,
    mut report: impl FnMut(anyhow::Result<RunPolicy>),
) {
    let Some(file) = file else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    let mut last = std::fs::read_to_string(file).ok();
    loop {
        ticks.tick().await;
        let text = std::fs::read_to_string(file).ok();
        if text != last {
            let parsed = text.as_deref().context("failed to read the file").and_then(parse);
            report(parsed.with_context(|| format!("{} is not a valid policy", file.display())));
            last = text;
        }
    }
}

/// Parses a policy and checks it against the rules that exist.
pub(crate) fn parse(text: &str) -> anyhow::Result<RunPolicy> {
    let policy = RunPolicy::from_yaml(text)?;
    catalogue::check_modes(&policy).map_err(anyhow::Error::msg)?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_for_a_rule_that_does_not_exist_is_refused() {
        let text = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules: {NS099: warn}\n";
        let message = parse(text).unwrap_err().to_string();
        assert!(message.starts_with("rules.NS099: no rule has this id; the rules are NS001, "), "{message}");
    }
}
