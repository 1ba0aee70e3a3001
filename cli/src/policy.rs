//! `policy`: prints, lints, compares and hashes policies, and prints their schema.

mod diff;
mod print;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::Severity;
use codex_k8s_webhook::lint::{Finding, lint};
use codex_k8s_webhook::rules::catalogue;

use crate::exit::{Ended, Exit, OrExit as _, ended};
use crate::{input, output};

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

/// The subcommands of `policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the default policy, which applies if no policy file is given
    PrintDefaults,
    Print(print::Args),
    /// Print the JSON Schema of the policy file
    Schema,
    /// Print the hash of a policy, as logs, metrics and denials show it
    Hash {
        /// Policy file
        file: PathBuf,
    },
    /// Report unknown, contradictory, unreachable and dangerous settings, with line and column
    ///
    /// Exits with 0 if there are no problems, 1 if there are, 2 if the file cannot be read.
    Lint {
        /// Policy file, or `-` for standard input
        file: PathBuf,
        /// Lowest severity that makes the exit code 1
        #[arg(long, value_name = "SEVERITY", default_value = "error")]
        fail_on: FailOn,
    },
    Diff(diff::Args),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    /// A setting that is rejected, or that disables a protection for all users
    Error,
    /// A warning or an error
    Warn,
}

impl Command {
    pub(super) fn run(self) -> Ended {
        match self {
            Self::PrintDefaults => ended(output::print(&plain(&RunPolicy::default())?)),
            Self::Print(args) => args.run(),
            Self::Schema => ended(output::print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&RunPolicy::json_schema())?
            ))),
            Self::Hash { file } => {
                ended(output::print(&format!("{} {}\n", read(&file)?.hash(), file.display())))
            }
            Self::Lint { file, fail_on } => lint_file(&file, fail_on),
            Self::Diff(args) => args.run(),
        }
    }
}

/// Formats the whole policy as YAML, without comments.
fn plain(policy: &RunPolicy) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(policy)?)
}

fn lint_file(file: &Path, fail_on: FailOn) -> Ended {
    let text = input::text(file).or_exit(Exit::Usage)?;
    let findings = lint(&text);
    let fails = findings.iter().any(|found| found.severity == Severity::Error || fail_on == FailOn::Warn);
    output::even_unread(output::print(&format_report(file, &findings)))?;
    Ok(if fails { Exit::Failed } else { Exit::Done })
}

fn format_report(file: &Path, findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |mut text, found| {
        let severity = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let field = if found.field.is_empty() { String::new() } else { format!("{}: ", found.field) };
        let position = format!("{}:{}:{}", file.display(), found.line, found.column);
        let _ = writeln!(text, "{position}: {severity}: {field}{}", found.problem);
        if !found.remedy.is_empty() {
            let _ = writeln!(text, "  remedy: {}", found.remedy);
        }
        text
    })
}

/// Reads a policy file and checks it against the rules that exist.
pub(super) fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} is not a valid policy", file.display()))
}

/// The shortest interval between reads of a file.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Polls a policy file forever, and reports each change.
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
            let parsed = text.as_deref().context("failed to read the file").and_then(parse);
            report(parsed.with_context(|| format!("{} is not a valid policy", file.display())));
            last = text;
        }
    }
}

/// Parses a policy and checks it against the rules that exist.
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
