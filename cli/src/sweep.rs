//! `sweep`: runs one sweep.

mod progress;

use clap::ValueEnum;
use codex_k8s_gc::session::{SweepOptions, SweepOutcome};
use codex_k8s_gc::sweep::DryRun;
use codex_k8s_shared::last_sweep::SweepResult;

use crate::connect::{CleanupArgs, SessionArgs};
use crate::exit::{self, Ended, Exit, Failure, OrExit as _};
use crate::output::Form;
use crate::telemetry::TelemetryArgs;
use crate::{process, table};
use progress::ProgressLog;

fn help() -> String {
    let examples = "\
Examples:
  codex-k8s-guard sweep --dry-run
  codex-k8s-guard sweep --policy policy.yaml --output json
  codex-k8s-guard sweep --allow-mass-deletion=40 --lease-timeout 5m";
    format!("{examples}\n\n{}", exit::HELP)
}

/// Delete the expired run namespaces once (in the cluster)
///
/// Deletes each run namespace whose lease is over and in which no workload is active, and writes audit rows for each
/// deletion.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
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

/// The extent of a dry run.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Where {
    /// Send no deletions to the API server
    Client,
    /// Send each deletion as a dry run, which the API server and its webhooks can deny
    Server,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        let runtime = process::runtime()?;
        let usual = "warn,codex_k8s_gc=info,codex_k8s_guard=info";
        let _telemetry =
            self.telemetry.begin("codex-k8s-gc", usual, runtime.handle()).or_exit(Exit::Usage)?;
        runtime.block_on(self.sweep())
    }

    async fn sweep(self) -> Ended {
        let policy = self.policy.read()?;
        let session = self.session.session()?;
        let dry_run = match self.dry_run {
            None => DryRun::No,
            Some(Where::Client) => DryRun::Client,
            Some(Where::Server) => DryRun::Server,
        };
        let options = SweepOptions { dry_run, allowed: self.allow_mass_deletion };
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
