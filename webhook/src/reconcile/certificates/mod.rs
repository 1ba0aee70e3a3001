//! The keeper of the certificates: looks at what there is, takes the one next step, and looks again.
//!
//! It is told by [`plan`] what to do, and every write holds only if the object is still the one that was seen. It also
//! keeps both webhook configurations as `register` applies them; but it never makes one that is gone, for deleting
//! them is how the glass is broken.

mod carry_out;
mod observe;
mod registration;
mod replicas;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use codex_k8s_certs::plan::{self, Refusal, Settings, Step, Wait};
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use kube::Client;

pub use replicas::Where;

use super::metrics::Metrics;
use crate::registration::Endpoint;

/// Asks for a successor of what is in a Secret, whatever its value.
pub const ROTATE: &str = "codex-k8s.dev/rotate";
/// On a webhook configuration: which generation was seen to say what it is to say, and since when.
pub const CONFIRMED: &str = "codex-k8s.dev/ca-bundle-confirmed";
/// After a failure, or while somebody else writes too.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What did not work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The API server refused it, or did not answer.
    #[error("failed to {0}")]
    Kube(&'static str, #[source] kube::Error),
    /// A certificate cannot be made.
    #[error("failed to issue a certificate")]
    Issue(#[from] codex_k8s_certs::AuthorityError),
    /// The API server does not say what time it is.
    #[error("the API server does not tell the time")]
    Timeless,
    /// What was seen is not what a step was planned for.
    #[error("failed to find what is to be written")]
    Absent,
}

impl Failure {
    /// Somebody else was quicker.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(_, kube::Error::Api(status)) if matches!(status.code, 404 | 409))
    }
}

/// Names and times.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace of the Secrets.
    pub namespace: String,
    /// The Secret of the authority.
    pub authority: String,
    /// The Secret of the leaf.
    pub leaf: String,
    /// Where the API server calls the webhook.
    pub endpoint: Endpoint,
    /// Where the replicas are looked for.
    pub replicas: Where,
    /// Lifetimes and delays.
    pub settings: Settings,
    /// How often all of it is looked at.
    pub interval: Duration,
}

/// Keeps the certificates of one installation.
#[derive(Clone)]
pub struct Certificates {
    client: Client,
    options: Options,
    policy: Arc<ArcSwap<RunPolicy>>,
    metrics: Arc<Metrics>,
}

impl Certificates {
    /// For one cluster.
    pub const fn new(
        client: Client,
        options: Options,
        policy: Arc<ArcSwap<RunPolicy>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, options, policy, metrics }
    }

    /// Keeps them, for ever.
    pub async fn run(&self) {
        let mut reported = None;
        loop {
            let delay = match self.observe_and_plan().await {
                Ok(Some(observed)) => {
                    self.report(&observed.step, &mut reported);
                    self.next(&observed)
                }
                Ok(None) => Duration::ZERO,
                Err(failure) if failure.is_conflict() => {
                    tracing::debug!(error = &failure as &dyn Error, "looking again");
                    POLL_INTERVAL
                }
                Err(failure) => {
                    self.metrics.failures.inc();
                    tracing::warn!(error = &failure as &dyn Error, "failed to look after the certificates");
                    POLL_INTERVAL.max(self.options.interval / 4)
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// What was done; `None` if the registration was repaired, so that what was seen is of no use any more.
    async fn observe_and_plan(&self) -> Result<Option<Observation>, Failure> {
        let seen = self.observe().await?;
        self.metrics.certificates_end(&seen.state);
        let step = plan::plan(Timestamp::now(), &self.options.settings, &seen.state);
        // Nothing of anybody's is fixed while it is not clear whose it is.
        if !matches!(step, Step::Refuse(_)) && self.repair_registration(&seen).await? {
            return Ok(None);
        }
        self.carry_out(&step, &seen).await?;
        let registered = seen.configurations.iter().all(|(_, found)| found.is_some());
        Ok(Some(Observation { step, registered }))
    }

    fn next(&self, observed: &Observation) -> Duration {
        let interval = self.options.interval;
        match &observed.step {
            // Whoever registers waits for us to say whom to trust.
            Step::Rest(_) if !observed.registered => POLL_INTERVAL.max(interval / 6).min(interval),
            Step::Refuse(_) | Step::Rest(_) => interval,
            Step::Wait { until: Some(until), .. } => {
                let left = until.duration_since(Timestamp::now());
                Duration::try_from(left).unwrap_or_default().clamp(POLL_INTERVAL.min(interval), interval)
            }
            Step::Wait { until: None, .. } => POLL_INTERVAL.min(interval),
            _ => Duration::ZERO,
        }
    }

    /// Says what is done, and once what is waited for or refused.
    fn report(&self, step: &Step, reported: &mut Option<Reported>) {
        let refused = matches!(step, Step::Refuse(_));
        self.metrics.certificates_refused.set(refused.into());
        let new = match step {
            Step::Refuse(refusal) => Some(Reported::Refused(refusal.clone())),
            Step::Wait { on, .. } => Some(Reported::PendingNamespace(on.clone())),
            _ => None,
        };
        if new != *reported {
            match &new {
                Some(Reported::Refused(refusal)) => {
                    tracing::error!(error = refusal as &dyn Error, "the certificates are left alone");
                }
                Some(Reported::PendingNamespace(Wait::Propagation)) => {
                    tracing::info!("giving every API server the time to trust the new authority");
                }
                Some(Reported::PendingNamespace(Wait::Replica(replica))) => {
                    tracing::warn!(replica, "waiting until it serves a leaf of the authority");
                }
                Some(Reported::PendingNamespace(Wait::Linger)) => {
                    tracing::info!("the authority before lingers")
                }
                None => {}
            }
            *reported = new;
        }
    }
}

/// What a look came to.
struct Observation {
    /// The step that was taken.
    step: Step,
    /// Whether both webhook configurations are there.
    registered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Reported {
    Refused(Refusal),
    PendingNamespace(Wait),
}
