//! The certificate rotation: observes the cluster, carries out the next step, and observes again.
//!
//! [`plan`] returns the next step, and every write succeeds only if the object is still in the observed version. The
//! rotation also repairs both webhook configurations to the state that `register` applies, but it never creates a
//! missing one, because deleting them is the way to break the glass.

mod carry_out;
mod observe;
mod registration;
mod replicas;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use codex_k8s_certs::plan::{self, Refusal, Settings, Step, Wait};
use codex_k8s_shared::errors;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use kube::Client;

pub use replicas::Where;

use registration::Repairs;

use super::metrics::Metrics;
use crate::registration::Endpoint;

/// The annotation that requests a successor of the certificate in a Secret, with any value.
pub(crate) const ROTATE: &str = "codex-k8s.dev/rotate";
/// The annotation of a webhook configuration with the generation that had the correct caBundle, and the time since
/// when.
pub(crate) const CONFIRMED: &str = "codex-k8s.dev/ca-bundle-confirmed";
/// The delay after a failure or a conflict.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// An error of the certificate rotation.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A request failed or was refused.
    #[error("failed to {0}")]
    Kube(&'static str, #[source] kube::Error),
    /// A certificate cannot be issued.
    #[error("failed to issue a certificate")]
    Issue(#[from] codex_k8s_certs::AuthorityError),
    /// The time of the API server is missing in its response.
    #[error("failed to read the time from the response of the API server")]
    Timeless,
    /// The observed state is not the one that the step was planned for.
    #[error("failed to find the object to write")]
    Absent,
}

impl Failure {
    /// True if another client was faster.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(_, kube::Error::Api(status))
            if status.is_not_found() || status.is_conflict() || status.is_already_exists())
    }
}

/// Options of the certificate rotation.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace of the Secrets.
    pub namespace: String,
    /// The Secret of the CA.
    pub authority: String,
    /// The Secret of the serving certificate.
    pub leaf: String,
    /// The endpoint at which the API server calls the webhook.
    pub endpoint: Endpoint,
    /// The source of the addresses of the replicas.
    pub replicas: Where,
    /// Lifetimes and delays.
    pub settings: Settings,
    /// The interval between observations.
    pub interval: Duration,
}

/// The certificate rotation of one installation.
#[derive(Clone)]
pub struct Certificates {
    client: Client,
    options: Options,
    policy: Arc<ArcSwap<RunPolicy>>,
    metrics: Arc<Metrics>,
}

impl Certificates {
    /// Creates the rotation for a cluster.
    pub const fn new(
        client: Client,
        options: Options,
        policy: Arc<ArcSwap<RunPolicy>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, options, policy, metrics }
    }

    /// Rotates the certificates forever.
    pub async fn run(&self) {
        let (mut reported, mut repairs) = (None, Repairs::default());
        loop {
            let delay = match self.observe_and_plan(&mut repairs).await {
                Ok(Some(observed)) => {
                    self.report(&observed.step, &mut reported);
                    self.next(&observed)
                }
                Ok(None) => Duration::ZERO,
                Err(failure) if failure.is_conflict() => {
                    tracing::debug!(error = errors::chain(&failure), "retrying after a conflict");
                    POLL_INTERVAL
                }
                Err(failure) => {
                    self.metrics.failures.inc();
                    tracing::warn!(error = errors::chain(&failure), "failed to reconcile the certificates");
                    POLL_INTERVAL.max(self.options.interval / 4)
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Carries out one step, and repairs the registration if the step writes nothing. Returns `None` if the
    /// registration was repaired, because the observed state is then outdated. Neither waits for the other: a
    /// certificate is issued while a repair is refused or put off, and the reverse.
    async fn observe_and_plan(&self, repairs: &mut Repairs) -> Result<Option<Observation>, Failure> {
        let seen = self.observe().await?;
        self.metrics.certificates_end(&seen.state);
        let step = plan::plan(Timestamp::now(), &self.options.settings, &seen.state);
        let registered = seen.configurations.iter().all(|(_, found)| found.is_some());
        let carried_out = self.carry_out(&step, &seen).await;
        let wrote =
            carried_out.is_ok() && !matches!(step, Step::Refuse(_) | Step::Rest(_) | Step::Wait { .. });
        // Nothing is repaired while it is not clear which manager owns the objects.
        if !wrote && !matches!(step, Step::Refuse(_)) && self.repair_registration(&seen, repairs).await? {
            return carried_out.map(|()| None);
        }
        carried_out?;
        Ok(Some(Observation { step, registered }))
    }

    fn next(&self, observed: &Observation) -> Duration {
        let interval = self.options.interval;
        match &observed.step {
            // A `register` that is running waits until the caBundle is written.
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

    /// Logs once why the rotation is paused or waits.
    fn report(&self, step: &Step, reported: &mut Option<Reported>) {
        let refused = matches!(step, Step::Refuse(_));
        self.metrics.certificates_refused.set(refused.into());
        let new = match step {
            Step::Refuse(refusal) => Some(Reported::Refused(refusal.clone())),
            Step::Wait { on, .. } => Some(Reported::Waiting(on.clone())),
            _ => None,
        };
        if new != *reported {
            match &new {
                Some(Reported::Refused(refusal)) => {
                    tracing::error!(error = errors::chain(refusal), "certificate rotation is paused");
                }
                Some(Reported::Waiting(Wait::Propagation)) => {
                    tracing::info!("waiting until every API server trusts the new CA");
                }
                Some(Reported::Waiting(Wait::Replica(replica))) => {
                    tracing::warn!(
                        replica,
                        "waiting until the replica serves a certificate of the current CA"
                    );
                }
                Some(Reported::Waiting(Wait::Linger)) => {
                    tracing::info!("keeping the previous CA in the caBundle");
                }
                None => {}
            }
            *reported = new;
        }
    }
}

/// The outcome of one observation.
struct Observation {
    /// The step that was carried out.
    step: Step,
    /// True if both webhook configurations exist.
    registered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Reported {
    Refused(Refusal),
    Waiting(Wait),
}
