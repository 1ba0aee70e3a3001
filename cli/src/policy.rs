//! `policy`: prints, lints, compares and hashes policies, and prints their schema.

mod diff;
mod print;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::Severity;
use codex_k8s_webhook::lint::{Finding, lint};

use crate::exit::{Ended, Exit, OrExit as _, ended};
use crate::policy_file::read;
use crate::{input, output};

/// The subcommands of `policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the default policy, which applies if no policy file is given
    #[command(after_help = "Examples:\n  codex-k8s-guard policy print-defaults > policy.yaml")]
    PrintDefaults,
    Print(print::Args),
    /// Print the JSON Schema of the policy file
    #[command(after_help = "Examples:\n  codex-k8s-guard policy schema > run-policy.schema.json")]
    Schema,
    /// Print the hash of a policy, as logs, metrics and denials show it
    #[command(after_help = "Examples:\n  codex-k8s-guard policy hash policy.yaml")]
    Hash {
        /// Policy file
        file: PathBuf,
    },
    /// Report unknown, contradictory, unreachable and dangerous settings, with line and column
    ///
    /// Exits with 0 if there are no problems, 1 if there are, 2 if the file cannot be read.
    #[command(
        after_help = "Examples:\n  codex-k8s-guard policy lint policy.yaml\n  codex-k8s-guard policy lint --fail-on warn policy.yaml"
    )]
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
            Self::Schema => ended(output::print_json(&RunPolicy::json_schema())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_file::parse;

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        let printed = serde_saphyr::to_string(&RunPolicy::default()).unwrap();
        assert_eq!(parse(&printed).unwrap(), RunPolicy::default());
    }
}
