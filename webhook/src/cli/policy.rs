//! `policy`: the defaults, the schema, and whether a file is a policy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use codex_k8s_shared::policy::RunPolicy;

use super::output;
use crate::rules::catalogue;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the policy that is in force without a file
    PrintDefaults,
    /// Print the JSON Schema of the policy file
    Schema,
    /// Check that a file is a policy, and print its hash
    Check {
        /// The policy file
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::PrintDefaults => output::print(&serde_saphyr::to_string(&RunPolicy::default())?),
            Self::Schema => {
                output::print(&format!("{}\n", serde_json::to_string_pretty(&RunPolicy::json_schema())?))
            }
            Self::Check { file } => output::print(&format!("{} {}\n", read(&file)?.hash(), file.display())),
        }
    }
}

/// Reads a policy file and checks it against the rules that exist.
pub(super) fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} is no usable policy", file.display()))
}

/// Reads a policy file again and again, for ever, and reports each time that it changed.
pub(super) async fn follow(
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
            let parsed = text.as_deref().context("the file cannot be read").and_then(parse);
            report(parsed.with_context(|| format!("{} is no usable policy", file.display())));
            last = text;
        }
    }
}

/// Reads a policy and checks it against the rules that exist.
pub(super) fn parse(text: &str) -> anyhow::Result<RunPolicy> {
    let policy = RunPolicy::from_yaml(text)?;
    catalogue::check_modes(&policy).map_err(anyhow::Error::msg)?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        let printed = serde_saphyr::to_string(&RunPolicy::default()).unwrap();
        assert_eq!(parse(&printed).unwrap(), RunPolicy::default());
    }

    #[test]
    fn a_mode_for_a_rule_that_does_not_exist_is_refused() {
        let text = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules: {NS099: warn}\n";
        let message = parse(text).unwrap_err().to_string();
        assert!(message.starts_with("rules.NS099: no rule has this id; the rules are NS001, "), "{message}");
    }
}
