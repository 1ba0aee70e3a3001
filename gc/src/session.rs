//! A whole sweep, from the Lease to the note of its outcome: what the command does once and the daemon again and again.

use std::time::Duration;

use codex_k8s_shared::audit::{AuditStore, StoreAddress, StoreError};
use codex_k8s_shared::last_sweep::{LastSweep, SweepResult};
use codex_k8s_shared::policy::RunPolicy;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError, told};
use crate::fault::{self, Point};
use crate::home::{Home, LeaseError};
use crate::progress::Progress;
use crate::rows::Scribe;
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
    pub home: Home,
    /// Its name.
    pub home_name: String,
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
pub struct Wish {
    /// Whether nothing is done.
    pub dry_run: DryRun,
    /// How many deletions a person lets pass this once.
    pub allowed: Option<u32>,
}

/// A sweep that was made, and what ended it early, if something did.
#[derive(Debug)]
pub struct Swept {
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
        wish: Wish,
        progress: &dyn Progress,
    ) -> Result<Swept, SessionError> {
        let span = traces::span(wish);
        let swept = self.sweep_within(policy, wish, progress).instrument(span.clone()).await;
        traces::tell(&span, &swept);
        swept
    }

    async fn sweep_within(
        &self,
        policy: &RunPolicy,
        wish: Wish,
        progress: &dyn Progress,
    ) -> Result<Swept, SessionError> {
        if wish.dry_run != DryRun::No {
            let before = self.home.last_sweep().await?;
            return Ok(self.swept(policy, wish, progress, before, CancellationToken::new()).await);
        }
        let Some(patience) = self.lease else {
            return self.noted(policy, wish, progress, CancellationToken::new()).await;
        };
        progress.phase("waiting for the Lease", 0);
        let held = self.home.take_lease(patience).await?;
        let swept = self.noted(policy, wish, progress, held.lost()).await;
        held.give_back().await;
        swept
    }

    async fn noted(
        &self,
        policy: &RunPolicy,
        wish: Wish,
        progress: &dyn Progress,
        lost: CancellationToken,
    ) -> Result<Swept, SessionError> {
        let before = self.home.last_sweep().await?;
        let mut swept = self.swept(policy, wish, progress, before, lost).await;
        fault::point(Point::BeforeOutcome, "").await;
        if let Err(error) = self.home.note(&swept.outcome).await {
            tracing::error!(error = told(&error), "the outcome is not noted");
            swept.error.get_or_insert(error.into());
        }
        self.warn(&swept.outcome).await;
        Ok(swept)
    }

    async fn swept(
        &self,
        policy: &RunPolicy,
        wish: Wish,
        progress: &dyn Progress,
        before: Option<LastSweep>,
        lost: CancellationToken,
    ) -> Swept {
        let due_before = outcome::due_before(before.as_ref());
        let (report, error) = self.run(policy, wish, progress, due_before, lost).await;
        let text = error.as_ref().map(|error| told(error));
        let outcome = outcome::last_sweep(&report, text.as_deref(), before.as_ref());
        Swept { report, outcome, error }
    }

    async fn run(
        &self,
        policy: &RunPolicy,
        wish: Wish,
        progress: &dyn Progress,
        due_before: Option<u32>,
        lost: CancellationToken,
    ) -> (Report, Option<SweepError>) {
        let nothing = || Report::new(self.clock.now(), policy, wish.dry_run);
        let runs = match self.runs.open().await {
            Ok(runs) => runs,
            Err(error) => return (nothing(), Some(error.into())),
        };
        let store = match self.open_store(wish.dry_run).await {
            Ok(store) => store,
            Err(error) => return (nothing(), Some(error.into())),
        };
        let sweep = Sweep {
            cluster: &self.cluster,
            store: store.as_ref(),
            runs: &runs,
            policy,
            scribe: Scribe { actor: self.actor.clone(), policy_hash: policy.hash().clone() },
            clock: self.clock,
            dry_run: wish.dry_run,
            allowed: wish.allowed,
            due_before,
            progress,
            lost,
        };
        let (mut report, mut result) = sweep.run().await;
        if result.is_ok() {
            progress.phase("looking for what is left over", 0);
            match leaks::find(&self.cluster, store.as_ref(), policy, &self.home_name).await {
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
            SweepResult::Done => {}
            SweepResult::Refused => {
                let note = format!(
                    "{} deleted by their own leases, nothing else: {}; `codex-k8s-guard sweep --dry-run` shows what is due",
                    outcome.deleted,
                    outcome.breaker.join(", ")
                );
                self.home.warn("BreakerTripped", &note).await;
            }
            SweepResult::SomeFailed => {
                let note = format!("{} failed, {} are still being deleted", outcome.failed, outcome.stuck);
                self.home.warn("CleanupFailed", &note).await;
            }
            SweepResult::Broken => {
                self.home.warn("SweepBroken", outcome.error.as_deref().unwrap_or_default()).await;
            }
        }
    }
}
