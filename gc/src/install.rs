//! The install namespace: the outcome of the last sweep, Events about it, and the Lease that allows one sweep at a
//! time.

use std::time::Duration;

use codex_k8s_shared::errors;
use codex_k8s_shared::install::SWEEP_LEASE;
use codex_k8s_shared::last_sweep::{CONFIG_MAP, KEY, LastSweep};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{BoxError, ClusterError};

/// The lifetime of a Lease that is not renewed, in seconds. A sweep that was killed blocks the next one for that
/// long.
const LEASE_SECONDS: u64 = 15;
/// The Lease is renewed this many seconds before it ends.
const LEASE_GRACE: u64 = 5;
/// The timeout for releasing the Lease.
const GIVING_BACK: Duration = Duration::from_secs(3);
const FIELD_MANAGER: &str = "codex-k8s-gc";

/// The install namespace.
#[derive(Clone)]
pub struct InstallNamespace {
    client: Client,
    namespace: String,
    identity: String,
}

impl std::fmt::Debug for InstallNamespace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("InstallNamespace").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The reason for which a sweep cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another sweep is running.
    #[error(
        "another sweep is at work: it has held the Lease {namespace}/{SWEEP_LEASE} for the {waited:?} that were waited"
    )]
    Held {
        /// The namespace of the Lease.
        namespace: String,
        /// The time that this sweep has waited.
        waited: Duration,
    },
    /// No other sweep holds the Lease, and the API server rejects the request to take it.
    #[error(
        "failed to take the Lease {namespace}/{SWEEP_LEASE} within {waited:?}; --no-lease sweeps without"
    )]
    Refused {
        /// The namespace of the Lease.
        namespace: String,
        /// The time that this sweep has waited.
        waited: Duration,
        /// The error of the API server.
        #[source]
        source: Box<ClusterError>,
    },
    /// The Lease cannot be taken at all.
    #[error(
        "failed to take the Lease {namespace}/{SWEEP_LEASE}; does namespace {namespace} exist? --guard-namespace names another, and \
         --no-lease sweeps without"
    )]
    Unreachable {
        /// The namespace of the Lease.
        namespace: String,
        /// The cause.
        #[source]
        source: Box<LeaseManagerError>,
    },
}

/// The Lease, while it is held.
#[derive(Debug)]
pub(crate) struct Held {
    leads: watch::Receiver<bool>,
    renewing: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
    lost: CancellationToken,
    watching: JoinHandle<()>,
}

impl Held {
    /// A token that is cancelled when the Lease is lost.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Releases the Lease, so that the next sweep does not have to wait.
    pub(crate) async fn give_back(self) {
        self.watching.abort();
        let _ = self.watching.await;
        drop(self.leads);
        if tokio::time::timeout(GIVING_BACK, self.renewing).await.is_err() {
            tracing::warn!("failed to give the Lease back in time");
        }
    }
}

impl InstallNamespace {
    /// The install namespace, with the identity of this process.
    pub const fn new(client: Client, namespace: String, identity: String) -> Self {
        Self { client, namespace, identity }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The outcome of the last sweep; `None` if there is none, or none that can be read.
    ///
    /// # Errors
    /// If the API server does not respond.
    pub async fn last_sweep(&self) -> Result<Option<LastSweep>, ClusterError> {
        let failed = |error: kube::Error| {
            ClusterError::new(format!("read ConfigMap {}/{CONFIG_MAP}", self.namespace), error)
        };
        let found: Option<ConfigMap> = self.config_maps().get_opt(CONFIG_MAP).await.map_err(failed)?;
        let text = found.and_then(|found| found.data?.remove(KEY));
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Stores the outcome of a sweep.
    ///
    /// # Errors
    /// If the API server rejects it.
    pub(crate) async fn note(&self, sweep: &LastSweep) -> Result<(), ClusterError> {
        let failed = |error: BoxError| {
            ClusterError::new(format!("write ConfigMap {}/{CONFIG_MAP}", self.namespace), error)
        };
        let text = serde_json::to_string_pretty(sweep).map_err(|error| failed(error.into()))?;
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP},
            "data": {KEY: text}});
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.config_maps().patch(CONFIG_MAP, &params, &Patch::Apply(object)).await;
        applied.map(drop).map_err(|error| failed(error.into()))
    }

    /// Creates a warning Event. Failures are ignored.
    pub(crate) async fn warn(&self, reason: &str, note: &str) {
        let reporter =
            Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(self.identity.clone()) };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(CONFIG_MAP.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: "Sweep".to_owned(),
            secondary: None,
        };
        if let Err(error) = Recorder::new(self.client.clone(), reporter).publish(&event, &about).await {
            tracing::warn!(error = errors::chain(&error), "failed to record an Event");
        }
    }

    /// Takes the Lease, and waits up to `timeout` for another sweep to end.
    ///
    /// # Errors
    /// If the other sweep takes longer, or the Lease cannot be taken at all.
    pub(crate) async fn take_lease(&self, timeout: Duration) -> Result<Held, LeaseError> {
        let namespace = self.namespace.clone();
        let unreachable = |source| LeaseError::Unreachable { namespace, source: Box::new(source) };
        let manager = LeaseManagerBuilder::new(self.client.clone(), SWEEP_LEASE)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(LEASE_SECONDS)
            .with_grace(LEASE_GRACE)
            .build()
            .await
            .map_err(unreachable)?;
        let (mut leads, renewing) = manager.watch().await;
        let waited =
            tokio::time::timeout(timeout, leads.wait_for(|leads| *leads)).await.is_ok_and(|led| led.is_ok());
        let lost = CancellationToken::new();
        let watching = tokio::spawn(watch_over(leads.clone(), lost.clone()));
        let held = Held { leads, renewing, lost, watching };
        if waited {
            return Ok(held);
        }
        held.give_back().await;
        let namespace = self.namespace.clone();
        Err(match self.try_lease().await {
            Ok(()) => LeaseError::Held { namespace, waited: timeout },
            Err(source) => LeaseError::Refused { namespace, waited: timeout, source: Box::new(source) },
        })
    }

    /// Tests with a dry run that the API server accepts a write of the Lease. If an admission policy rejects it,
    /// waiting for the Lease looks as if another sweep were running.
    async fn try_lease(&self) -> Result<(), ClusterError> {
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"holderIdentity": self.identity}}));
        let tried = api.patch(SWEEP_LEASE, &params, &patch).await;
        tried.map(drop).map_err(|error| {
            ClusterError::new(format!("write Lease {}/{SWEEP_LEASE}", self.namespace), error)
        })
    }
}

async fn watch_over(mut leads: watch::Receiver<bool>, lost: CancellationToken) {
    // The Lease is not renewed any more, or has another holder.
    let _ = leads.wait_for(|leads| !leads).await;
    lost.cancel();
}
