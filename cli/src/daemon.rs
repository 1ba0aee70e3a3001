//! `daemon`: runs sweeps on a schedule.

mod page;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use codex_k8s_gc::daemon::{self, Due};
use codex_k8s_gc::health::Health;
use codex_k8s_gc::install::LeaseError;
use codex_k8s_gc::progress::Unseen;
use codex_k8s_gc::schedule::Schedule;
use codex_k8s_gc::session::{Session, SessionError, SweepOptions};
use codex_k8s_shared::audit::{AuditStore, StoreAddress};
use codex_k8s_shared::errors;
use codex_k8s_webhook::server::{Readiness, health};
use tokio_util::sync::CancellationToken;

use crate::connect::{CleanupArgs, SessionArgs};
use crate::duration::duration;
use crate::exit::{self, Ended, Exit, OrExit as _};
use crate::kubernetes;
use crate::process::{self, HealthArgs, signals};
use crate::telemetry::TelemetryArgs;
use page::{Page, PageArgs};

fn help() -> String {
    let examples = "\
Examples:
  codex-k8s-guard daemon --policy policy.yaml --audit-store sqlite:audit.db
  codex-k8s-guard daemon --audit-store sqlite:audit.db --schedule @hourly --time-zone Europe/Berlin
  codex-k8s-guard daemon --audit-store sqlite:audit.db --admin-listen localhost:8081";
    format!("{examples}\n\n{}", exit::HELP)
}

/// Sweep on a schedule, and serve metrics and optionally a status page (in the cluster)
///
/// Schedules sweeps like a CronJob. After missed starts, one sweep makes up for all of them. Sweeps do not overlap.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
    #[command(flatten)]
    policy: CleanupArgs,
    #[command(flatten)]
    session: SessionArgs,
    /// Schedule of the sweeps, in the cron syntax of a CronJob
    #[arg(long, default_value = "*/15 * * * *", value_name = "SCHEDULE", env = "CODEX_K8S_GUARD_SCHEDULE")]
    schedule: String,
    /// IANA time zone of the schedule
    #[arg(long, default_value = "Etc/UTC", value_name = "ZONE", env = "CODEX_K8S_GUARD_TIME_ZONE")]
    time_zone: String,
    /// Skip a start that is later than this
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration)]
    starting_deadline: Duration,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        let runtime = process::runtime()?;
        let filter = self.session.target().0.log_filter().unwrap_or("info");
        let _telemetry =
            self.telemetry.begin("codex-k8s-gc", filter, runtime.handle()).or_exit(Exit::Usage)?;
        runtime.block_on(self.sweep_for_ever())
    }

    async fn sweep_for_ever(self) -> Ended {
        let schedule = self
            .schedule
            .parse::<Schedule>()
            .context("--schedule: failed to parse the schedule")
            .or_exit(Exit::Usage)?;
        let schedule = schedule.in_zone(&self.time_zone).or_exit(Exit::Usage)?;
        // Report an invalid policy now, not at the first sweep.
        self.policy.read()?;
        let session = Arc::new(self.session.session(false)?);
        create_file(&session.store).await;
        let health = Arc::<Health>::default();
        let listener = self.health.bind().or_exit(Exit::Usage)?;
        let page = self.page.page(&self.policy, &session, &health)?;
        let (client, stop) = (session.cluster.client(), signals()?);
        let render = {
            let health = Arc::clone(&health);
            Arc::new(move || health.render())
        };
        let readiness = Readiness::waiting_for(&[]);
        // Served until the last sweep has ended, not only until the signal.
        let serving = health::serve(listener, readiness.clone(), render, CancellationToken::new());
        let draining = async {
            stop.cancelled().await;
            readiness.drain();
            std::future::pending::<()>().await;
        };
        tracing::info!(schedule = schedule.describe(), "waiting for the first start");
        tokio::select! {
            served = serving => served.context("failed to serve health")?,
            served = serve(page) => served.context("failed to serve the page")?,
            () = draining => {}
            () = kubernetes::follow(&client, &health.build, drop) => {}
            () = self.follow(&schedule, &session, &health, &stop) => {}
        }
        tracing::info!("ended");
        Ok(Exit::Done)
    }

    async fn follow(
        &self,
        schedule: &Schedule,
        session: &Session,
        health: &Health,
        stop: &CancellationToken,
    ) {
        let mut last = session.clock.now();
        health.next(schedule.after(last));
        if let Ok(Some(before)) = session.install.last_sweep().await {
            health.last.note(before);
        }
        while !stop.is_cancelled() {
            let now = session.clock.now();
            health.next(schedule.after(last));
            match daemon::due(schedule, last, now, self.starting_deadline) {
                Due::Never => return stop.cancelled().await,
                Due::At(time) => {
                    let wait = daemon::pause(now, time);
                    tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
                }
                Due::Now { start, missed } => {
                    if missed > 0 {
                        tracing::warn!(missed, "starts were missed, this sweep makes up for them");
                    }
                    last = start;
                    Box::pin(self.sweep(session, health)).await;
                }
                Due::TooLate { latest } => {
                    tracing::warn!(start = %latest, "skipped a start that is later than the starting deadline");
                    last = latest;
                }
            }
        }
    }

    /// Runs one sweep. The first signal does not interrupt it: the deletions in progress are finished.
    async fn sweep(&self, session: &Session, health: &Health) {
        let policy = match self.policy.read() {
            Ok(policy) => policy,
            Err(failure) => {
                tracing::error!(
                    error = errors::chain(&*failure.error),
                    "skipped the sweep: failed to read the policy"
                );
                return health.last.note_broken(session.clock.now());
            }
        };
        match session.sweep(&policy, SweepOptions::default(), &Unseen).await {
            Ok(sweep) => {
                let outcome = &sweep.outcome;
                let (managed, due, deleted) = (outcome.managed, outcome.due, outcome.deleted);
                let result = outcome.result.as_str();
                match &sweep.error {
                    None => tracing::info!(result, managed, due, deleted, "finished the sweep"),
                    Some(error) => {
                        tracing::error!(
                            result,
                            managed,
                            due,
                            deleted,
                            error = errors::chain(error),
                            "finished the sweep"
                        );
                    }
                }
                health.last.note(sweep.outcome);
            }
            Err(SessionError::Lease(error @ LeaseError::Held { .. })) => {
                tracing::info!("skipped the sweep: {error}");
            }
            Err(error) => {
                tracing::error!(error = errors::chain(&error), "failed to start the sweep");
                health.last.note_broken(session.clock.now());
            }
        }
    }
}

/// Creates the file of audit rows now, so that they can be listed before the first sweep.
async fn create_file(store: &StoreAddress) {
    if let StoreAddress::Sqlite(_) = store {
        match AuditStore::open(store).await {
            Ok(store) => store.close().await,
            Err(error) => {
                let error = errors::chain(&error);
                tracing::error!(error, "failed to create the audit store, each sweep tries again");
            }
        }
    }
}

/// Serves the page, if there is one.
async fn serve(page: Option<Page>) -> std::io::Result<()> {
    match page {
        Some(page) => page.serve().await,
        None => std::future::pending().await,
    }
}
