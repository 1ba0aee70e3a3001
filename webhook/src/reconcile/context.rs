//! The state that the controllers share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use codex_k8s_shared::policy::RunPolicy;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use super::audit_rows::AuditRows;
use super::backoff::ExponentialBackoff;
use super::cluster::Cluster;
use super::inspection_cluster::Inspector;
use super::metrics::Metrics;
use super::quota::jobs::AgentJobs;
use super::quota::namespaces::NamespaceQuota;

/// The state that the controllers share.
pub struct Context {
    /// The current policy.
    pub policy: Arc<ArcSwap<RunPolicy>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The reservations of namespaces.
    pub quota: NamespaceQuota,
    /// The agent Jobs, if they are limited.
    pub jobs: AgentJobs,
    /// The time for which pending Jobs are still released after the policy stops limiting them.
    pub linger: Duration,
    /// The audit rows, if there is a store for them.
    pub audit_rows: Option<AuditRows>,
    pub(super) cluster: Cluster,
    pub(super) inspector: Inspector,
    pub(super) recorder: Recorder,
    pub(super) backoff: ExponentialBackoff,
}

impl Context {
    /// Creates the state for a cluster, with the reservations in an install namespace.
    pub fn new(
        client: Client,
        policy: Arc<ArcSwap<RunPolicy>>,
        metrics: Arc<Metrics>,
        install_namespace: &str,
        linger: Duration,
    ) -> Self {
        let reporter = Reporter { controller: "codex-k8s-reconcile".to_owned(), instance: None };
        let cluster = Cluster::new(client.clone(), false);
        Self {
            policy,
            quota: NamespaceQuota::new(
                client.clone(),
                install_namespace,
                cluster.clone(),
                Arc::clone(&metrics),
            ),
            jobs: AgentJobs::new(client.clone(), cluster.clone()),
            linger,
            audit_rows: None,
            metrics,
            cluster,
            inspector: Inspector::new(client.clone()),
            recorder: Recorder::new(client, reporter),
            backoff: ExponentialBackoff::default(),
        }
    }

    /// Writes audit rows forever, if there is a store for them.
    pub async fn write_rows(&self) {
        match &self.audit_rows {
            Some(rows) => rows.run(&self.cluster).await,
            None => std::future::pending().await,
        }
    }
}
