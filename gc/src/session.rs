//! A whole sweep, from taking the Lease to storing its outcome. The command does it once, the daemon repeatedly.

use std::time::Duration;

use codex_k8s_shared::audit::decision::Origin;
use codex_k8s_shared::audit::{AuditStore, Store as _, StoreAddress, StoreError};
use codex_k8s_shared::errors;
use codex_k8s_shared::last_sweep::{LastSweep, SweepResult};
use codex_k8s_shared::policy::RunPolicy;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError};
use crate::fault::{self, Point};
use crate::install::{InstallNamespace, LeaseError};
use crate::progress::Progress;
use crate::rows::AuditEvents;
use crate::runs::RunsSource;
use crate::sweep::report::Report;
use crate::sweep::{DryRun, Sweep, SweepError};
use crate::{leaks, outcome, traces};

/// A sweep that did not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another sweep is running, or the Lease cannot be taken.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The sweep ended early.
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

/// The resources that all sweeps of a process share.
#[derive(Debug)]
pub struct Session {
    /// The API server.
    pub cluster: Cluster,
    /// The install namespace.
    pub install: InstallNamespace,
    /// The name of the install namespace.
    pub install_namespace: String,
    /// The address of the audit store.
    pub store: StoreAddress,
    /// The source of runs.
    pub runs: RunsSource,
    /// The actor in audit rows.
    pub actor: String,
    /// The clock.
    pub clock: Clock,
    /// The time to wait for another sweep; `None` to sweep without a Lease.
    pub lease: Option<Duration>,
}

/// The options of one sweep.
#[derive(Debug, Clone, Default)]
pub struct SweepOptions {
    /// The kind of dry run, if any.
    pub dry_run: DryRun,
    /// The number of deletions that an operator allows in this sweep.
    pub allowed: Option<u32>,
    /// Cancelled when the process must end.
    pub stop: CancellationToken,
}

/// A sweep that was started, and the error that ended it early, if any.
#[derive(Debug)]
pub struct SweepOutcome {
    /// The report.
    pub report: Report,
    /// The outcome that is stored.
    pub outcome: LastSweep,
    /// The error that ended it early.
    pub error: Option<SweepError>,
}

impl Session {
    /// Sweeps once. A dry run does not take the Lease, and stores nothing.
    ///
    /// # Errors
    /// If the sweep could not start.
    pub async fn sweep(
        &self,
        policy: &RunPolicy,
        options: SweepOptions,
        progress: &dyn Progress,
    ) -> Result<SweepOutcome, SessionError> {
        let span = traces::span(options.dry_run != DryRun::No);
        let sweep = self.sweep_within(policy, &options, progress).instrument(span.clone()).await;
        match &sweep {
            Ok(SweepOutcome { outcome, error, .. }) => {
                traces::record(&span, outcome);
                if let Some(error) = error {
                    traces::record_error(&span, error);
                }
            }
            Err(error) => traces::record_error(&span, error),
        }
        sweep
    }

    async fn sweep_within(
        &self,
        policy: &RunPolicy,
        options: &SweepOptions,
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
        options: &SweepOptions,
        progress: &dyn Progress,
        lost: CancellationToken,
    ) -> Result<SweepOutcome, SessionError> {
        let before = self.install.last_sweep().await?;
        let mut sweep = self.run_once(policy, options, progress, before, lost).await;
        fault::point(Point::BeforeOutcome, "").await;
        if let Err(error) = self.install.note(&sweep.outcome).await {
            tracing::error!(error = errors::chain(&error), "the outcome is not noted");
            sweep.error.get_or_insert(error.into());
        }
        self.warn(&sweep.outcome).await;
        Ok(sweep)
    }

    async fn run_once(
        &self,
        policy: &RunPolicy,
        options: &SweepOptions,
        progress: &dyn Progress,
        before: Option<LastSweep>,
        lost: CancellationToken,
    ) -> SweepOutcome {
        let (report, error) = self.run(policy, options, progress, before.as_ref(), lost).await;
        let text = error.as_ref().map(|error| errors::chain(error));
        let outcome = outcome::last_sweep(&report, text.as_deref(), before.as_ref());
        SweepOutcome { report, outcome, error }
    }

    async fn run(
        &self,
        policy: &RunPolicy,
        options: &SweepOptions,
        progress: &dyn Progress,
        before: Option<&LastSweep>,
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
            audit_events: AuditEvents(Origin {
                actor: self.actor.clone(),
                policy_hash: policy.hash().clone(),
            }),
            clock: self.clock,
            dry_run: options.dry_run,
            allowed: options.allowed,
            due_before: outcome::due_before(before),
            progress,
            lost,
            stop: options.stop.clone(),
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
            if result.is_ok() {
                report.pruned_rows = self.prune(policy, store, before).await;
            }
            store.close().await;
        }
        runs.close().await;
        (report, result.err())
    }

    /// Removes old audit rows, if the policy says so and it is time to. A failure does not affect the sweep, which has
    /// done its work.
    async fn prune(&self, policy: &RunPolicy, store: &AuditStore, before: Option<&LastSweep>) -> Option<u64> {
        let now = self.clock.now();
        let removed_before = policy.audit_store.removed_before(now)?;
        if !policy.audit_store.is_due(before.and_then(|before| before.last_prune), now) {
            return None;
        }
        match store.prune(removed_before).await {
            Ok(rows) => {
                tracing::info!(rows, before = %removed_before, "removed old audit rows");
                Some(rows)
            }
            Err(error) => {
                let error = errors::chain(&error);
                tracing::error!(error, "failed to remove old audit rows");
                self.install.warn("AuditPruneFailed", &error).await;
                None
            }
        }
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
