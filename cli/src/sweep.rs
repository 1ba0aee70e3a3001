//! `sweep`: runs one sweep.

mod progress;

use anyhow::anyhow;
use clap::ValueEnum;
use codex_k8s_gc::session::{SweepOptions, SweepOutcome};
use codex_k8s_gc::sweep::DryRun;
use codex_k8s_shared::last_sweep::SweepResult;

use crate::command_line::CommandLine;
use crate::connect::{CleanupArgs, SessionArgs};
use crate::exit::{self, Ended, Exit, Failure, OrExit as _};
use crate::installation::Installation;
use crate::output::{self, Form};
use crate::remote::{self, Output, RemoteArgs};
use crate::telemetry::TelemetryArgs;
use crate::{process, table};
use progress::ProgressLog;

fn help() -> String {
    let examples = "\
Examples:
  codex-k8s-guard sweep --dry-run
  codex-k8s-guard sweep --allow-mass-deletion=40
  codex-k8s-guard sweep --yes --output json --context staging
  codex-k8s-guard sweep --local --policy policy.yaml --audit-store sqlite:audit.db --dry-run";
    format!("{examples}\n\n{}", exit::HELP)
}

/// Delete the expired run namespaces once
///
/// Deletes each run namespace whose lease is over and in which no workload is active, and writes audit rows for each
/// deletion. Runs in the installation, as a Job with its policy, audit store, runs and identity: prints the verdicts of
/// a dry run, requests a confirmation, and then deletes.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Do not print a dry run, and do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    policy: CleanupArgs,
    #[command(flatten)]
    session: SessionArgs,
    /// Print the verdict on every managed namespace and delete none
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<Where>,
    /// Allow up to COUNT deletions in this run even if the circuit breaker trips
    #[arg(long, value_name = "COUNT")]
    allow_mass_deletion: Option<u32>,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// The exit code of a dry run whose circuit breaker trips: the sweep deletes only what it does not count.
const BREAKER: u8 = 3;

/// The extent of a dry run.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Where {
    /// Send no deletions to the API server
    Client,
    /// Send each deletion as a dry run, which the API server and its webhooks can deny
    Server,
}

impl Args {
    pub(super) fn run(self, line: &CommandLine) -> Ended {
        let runtime = process::runtime()?;
        let [store, runs] = self.session.own(self.dry_run.is_some());
        if !self.remote.is_local(&[self.policy.own(), store, runs])? {
            return runtime.block_on(self.sweep_in_installation(line));
        }
        let usual = "warn,codex_k8s_gc=info,codex_k8s_guard=info";
        let filter = self.session.target().0.log_filter().unwrap_or(usual);
        let _telemetry =
            self.telemetry.begin("codex-k8s-gc", filter, runtime.handle()).or_exit(Exit::Usage)?;
        runtime.block_on(self.sweep())
    }

    /// Sweeps as a Job of the installation, after a question unless it is answered already.
    async fn sweep_in_installation(self, line: &CommandLine) -> Ended {
        let must_confirm = self.dry_run.is_none() && !self.yes;
        if must_confirm && !remote::can_ask() {
            let error = anyhow!(
                "--yes: Required value: standard input is no terminal, so that no question can be asked"
            );
            return Err(error).or_exit(Exit::Usage);
        }
        let (cluster, install) = self.session.target();
        let installation = Installation::find(cluster, install).await?;
        let stop = process::signals()?;
        if must_confirm {
            let preview = line.clone().without("--output").with("--dry-run");
            let ended = self.remote.run(&installation, &preview, Output::Stderr, &stop).await?;
            if ![Exit::Mirrored(0), Exit::Mirrored(BREAKER)].contains(&ended) {
                return Ok(ended);
            }
            let question = format!("Sweep {}, as above?", installation.target);
            if !remote::confirm(&question, &stop).await? {
                output::note("nothing was deleted");
                return Ok(Exit::Failed);
            }
        }
        self.remote.run(&installation, line, Output::Stdout, &stop).await
    }

    async fn sweep(self) -> Ended {
        let policy = self.policy.read()?;
        let session = self.session.session(self.dry_run.is_some())?;
        let dry_run = match self.dry_run {
            None => DryRun::No,
            Some(Where::Client) => DryRun::Client,
            Some(Where::Server) => DryRun::Server,
        };
        let options = SweepOptions { dry_run, allowed: self.allow_mass_deletion, stop: process::signals()? };
        let sweep = {
            let progress = ProgressLog::new();
            session.sweep(&policy, options, &progress).await
        };
        let sweep = sweep.map_err(|error| Failure { exit: exit::of_session(&error), error: error.into() })?;
        self.output.print(&sweep.report, table::report)?;
        ended(sweep)
    }
}

fn ended(sweep: SweepOutcome) -> Ended {
    if let Some(error) = sweep.error {
        return Err(Failure { exit: exit::of_sweep(&error), error: error.into() });
    }
    Ok(match sweep.outcome.result {
        SweepResult::Succeeded => Exit::Done,
        SweepResult::Aborted => Exit::Refused,
        SweepResult::Partial | SweepResult::Failed => Exit::Failed,
    })
}
