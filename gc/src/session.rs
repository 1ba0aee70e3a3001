//! A whole sweep, from the Lease to the note of its outcome: what the command does once and the daemon again and again.

use std::time::Duration;

use codex_k8s_shared::audit::{AuditStore, StoreAddress, StoreError};
use codex_k8s_shared::last_sweep::{LastSweep, SweepResult};
use codex_k8s_shared::policy::RunPolicy;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError, error_chain};
use crate::fault::{self, Point};
use crate::install::{InstallNamespace, LeaseError};
use crate::progress::Progress;
use crate::rows::AuditEvents;
use crate::runs::RunsSource;
use crate::sweep::report::Report;
use crate::sweep::{DryRun, Sweep, SweepError};
use crate::{leaks, outcome, traces};

/// Why there was no sweep, or only half of one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another one is at work, or the Lease cannot be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It ended early.
    #[error(transparent)]
    Sweep(#[from] SweepError),
}

impl From<ClusterError> for SessionError {
    fn from(error: ClusterError) -> Self {
        Self::Sweep(error.into())
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Sweep(error.into())
    }
}

/// All that sweeps of one process have in common.
#[derive(Debug)]
pub struct Session {
    /// The API server.
    pub cluster: Cluster,
    /// Our own namespace.
    pub install: InstallNamespace,
    /// Its name.
    pub install_namespace: String,
    /// Where rows go.
    pub store: StoreAddress,
    /// Where runs are looked up.
    pub runs: RunsSource,
    /// Who writes rows.
    pub actor: String,
    /// The time.
    pub clock: Clock,
    /// How long another sweep is waited for; `None` to sweep without a Lease.
    pub lease: Option<Duration>,
}

/// What is asked of one sweep.
#[derive(Debug, Clone, Copy, Default)]
pub struct SweepOptions {
    /// Whether nothing is done.
    pub dry_run: DryRun,
    /// How many deletions a person lets pass this once.
    pub allowed: Option<u32>,
}

/// A sweep that was made, and what ended it early, if something did.
#[derive(Debug)]
pub struct SweepOutcome {
    /// What it saw and did.
    pub report: Report,
    /// What is noted of it.
    pub outcome: LastSweep,
    /// What ended it early.
    pub error: Option<SweepError>,
}

impl Session {
    /// Sweeps once. A dry run takes no Lease and notes nothing.
    ///
    /// # Errors
    /// If no sweep was begun.
    pub async fn sweep(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
    ) -> Result<SweepOutcome, SessionError> {
        let span = traces::span(options);
        let sweep = self.sweep_within(policy, options, progress).instrument(span.clone()).await;
        traces::record(&span, &sweep);
        sweep
    }

    async fn sweep_within(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
    ) -> Result<SweepOutcome, SessionError> {
        if options.dry_run != DryRun::No {
            let before = self.install.last_sweep().await?;
            return Ok(self.run_once(policy, options, progress, before, CancellationToken::new()).await);
        }
        let Some(timeout) = self.lease else {
            return self.run_and_record(policy, options, progress, CancellationToken::new()).await;
        };
        progress.phase("waiting for the Lease", 0);
        let held = self.install.take_lease(timeout).await?;
        let sweep = self.run_and_record(policy, options, progress, held.lost()).await;
        held.give_back().await;
        sweep
    }

    async fn run_and_record(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
        lost: CancellationToken,
    ) -> Result<SweepOutcome, SessionError> {
        let before = self.install.last_sweep().await?;
        let mut sweep = self.run_once(policy, options, progress, before, lost).await;
        fault::point(Point::BeforeOutcome, "").await;
        if let Err(error) = self.install.note(&sweep.outcome).await {
            tracing::error!(error = error_chain(&error), "the outcome is not noted");
            sweep.error.get_or_insert(error.into());
        }
        self.warn(&sweep.outcome).await;
        Ok(sweep)
    }

    async fn run_once(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
        before: Option<LastSweep>,
        lost: CancellationToken,
    ) -> SweepOutcome {
        let due_before = outcome::due_before(before.as_ref());
        let (report, error) = self.run(policy, options, progress, due_before, lost).await;
        let text = error.as_ref().map(|error| error_chain(error));
        let outcome = outcome::last_sweep(&report, text.as_deref(), before.as_ref());
        SweepOutcome { report, outcome, error }
    }

    async fn run(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
        due_before: Option<u32>,
        lost: CancellationToken,
    ) -> (Report, Option<SweepError>) {
        let nothing = || Report::new(self.clock.now(), policy, options.dry_run);
        let runs = match self.runs.open().await {
            Ok(runs) => runs,
            Err(error) => return (nothing(), Some(error.into())),
        };
        let store = match self.open_store(options.dry_run).await {
            Ok(store) => store,
            Err(error) => return (nothing(), Some(error.into())),
        };
        let sweep = Sweep {
            cluster: &self.cluster,
            store: store.as_ref(),
            runs: &runs,
            policy,
            audit_events: AuditEvents { actor: self.actor.clone(), policy_hash: policy.hash().clone() },
            clock: self.clock,
            dry_run: options.dry_run,
            allowed: options.allowed,
            due_before,
            progress,
            lost,
        };
        let (mut report, mut result) = sweep.run().await;
        if result.is_ok() {
            progress.phase("looking for what is left over", 0);
            match leaks::find(&self.cluster, store.as_ref(), policy, &self.install_namespace).await {
                Ok(leaks) => report.leaks = leaks,
                Err(error) => result = Err(error),
            }
        }
        if let Some(store) = &store {
            store.close().await;
        }
        runs.close().await;
        (report, result.err())
    }

    async fn open_store(&self, dry_run: DryRun) -> Result<Option<AuditStore>, StoreError> {
        if dry_run == DryRun::No { AuditStore::open(&self.store).await.map(Some) } else { Ok(None) }
    }

    async fn warn(&self, outcome: &LastSweep) {
        match outcome.result {
            SweepResult::Succeeded => {}
            SweepResult::Aborted => {
                let note = format!(
                    "{} deleted by their own leases, nothing else: {}; `codex-k8s-guard sweep --dry-run` shows what is due",
                    outcome.deleted,
                    outcome.breaker.join(", ")
                );
                self.install.warn("BreakerTripped", &note).await;
            }
            SweepResult::Partial => {
                let note = format!("{} failed, {} are still being deleted", outcome.failed, outcome.stuck);
                self.install.warn("CleanupFailed", &note).await;
            }
            SweepResult::Failed => {
                self.install.warn("SweepFailed", outcome.error.as_deref().unwrap_or_default()).await;
            }
        }
    }
}
