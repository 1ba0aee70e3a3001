//! `replay`: the decisions of a policy on the requests in the API server's audit log.

mod human;
mod log;
mod sarif;

use std::path::PathBuf;

use anyhow::ensure;
use clap::ValueEnum;
use codex_k8s_webhook::check::replay::{LogReplay, OBJECTS, ReplayReport};

use crate::check::existing;
use crate::exit::{Ended, Exit, OrExit as _};
use crate::policy_file::PolicyArgs;
use crate::{output, process};

use self::log::Part;

const HELP: &str = "\
Examples:
  codex-k8s-guard replay audit.log --policy new.yaml
  codex-k8s-guard replay audit-1.log.gz audit-2.log.gz audit.log --policy new.yaml --output json
  kubectl get namespaces -o yaml > before.yaml
  cat audit.log | codex-k8s-guard replay - --old before.yaml

Exit codes:
  0  no recorded request would be newly denied
  1  a recorded request would be newly denied; with --fail-on any, also if one would be newly admitted or otherwise
     mutated
  2  nothing was evaluated: invalid usage, an unreadable file, no audit events, or an invalid policy";

/// Report what a policy would decide about the requests in an audit log
///
/// Reads the log that the API server writes (audit.k8s.io/v1, JSON lines, plain or compressed with gzip), evaluates each
/// recorded write, and compares the result with the recorded one: newly denied, newly admitted or otherwise mutated.
/// Needs no cluster.
///
/// The audit policy must log the resources that the webhook is registered for at level `RequestResponse`. The old objects
/// of updates and deletions are those that the log has shown before. A request whose facts the log does not hold is
/// counted by reason, and not evaluated.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Audit logs, oldest first, or `-` for standard input
    #[arg(value_name = "AUDIT-LOG", required_unless_present = "schema")]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// File with objects that are older than the log, among them the existing namespaces (can be repeated)
    #[arg(long, value_name = "FILE")]
    old: Vec<PathBuf>,
    /// Differences that make the exit code 1
    #[arg(long, value_enum, default_value = "denied")]
    fail_on: FailOn,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    /// Print the JSON Schema of --output json instead of evaluating
    #[arg(long, exclusive = true)]
    schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A request is newly denied
    Denied,
    /// Any difference
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Text for people
    Human,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// SARIF 2.1.0, with the newly denied requests
    Sarif,
}

impl Args {
    /// Runs the command. Errors are logs that could not be evaluated.
    pub(super) fn run(self) -> Ended {
        self.evaluate().or_exit(Exit::Usage)
    }

    fn evaluate(&self) -> anyhow::Result<Exit> {
        if self.schema {
            return output::print_json(&ReplayReport::json_schema()).map(|()| Exit::Done);
        }
        let report = self.replay()?;
        let text = match self.output {
            Form::Human => human::format_report(&report),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
            Form::Yaml => serde_saphyr::to_string(&report)?,
            Form::Sarif => sarif::format_report(&report)?,
        };
        output::even_unread(output::print(&text))?;
        let differences = report.summary.differences;
        let failing = match self.fail_on {
            FailOn::Denied => differences.newly_denied,
            FailOn::Any => differences.total(),
        };
        Ok(if failing > 0 { Exit::Failed } else { Exit::Done })
    }

    fn replay(&self) -> anyhow::Result<ReplayReport> {
        let mut replay = LogReplay::new(self.policy.read()?, OBJECTS);
        for file in &self.old {
            replay.assume(&existing(file)?);
        }
        let runtime = process::runtime()?;
        log::read(&self.logs, |part| match part {
            Part::Line(line) => runtime.block_on(replay.line(line)),
            Part::TooLong => replay.add_malformed(),
            Part::Cut(line) => runtime.block_on(replay.last_line(line)),
        })?;
        let report = replay.finish();
        let (lines, events) = (report.log.lines, report.log.events);
        ensure!(
            events > 0,
            "found no audit events in {lines} lines; expected audit.k8s.io/v1, one event a line, in JSON"
        );
        log::warn_about_cut(report.log.cut);
        Ok(report)
    }
}
