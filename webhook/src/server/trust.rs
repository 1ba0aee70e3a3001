//! Checks that the API server trusts the serving certificate: compares the registered caBundles with it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use codex_k8s_certs::ReloadableResolver;
use codex_k8s_shared::errors;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Notify;

use super::Readiness;
use crate::metrics::Metrics;
use crate::registered::{Called, Which};

/// The name of the condition in `/readyz`.
pub const TRUSTED: &str = "certificate trusted by the caBundle in force";
/// Timeout for reading the webhook configurations.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Until the certificate is trusted, no request is served, so the check is repeated quickly.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Maintains one readiness condition: every registered webhook's caBundle verifies the serving certificate.
///
/// If the API server does not answer, the last known registration counts; before the first answer, the condition is
/// met. Without a registration, the API server does not call the webhook at all.
#[derive(Clone)]
pub struct Trust {
    client: Client,
    name: String,
    readiness: Readiness,
    resolver: Arc<ReloadableResolver>,
    metrics: Arc<Metrics>,
    known: Arc<RwLock<Vec<Called>>>,
    again: Arc<Notify>,
}

impl Trust {
    /// Checks the configurations with this name.
    pub fn new(
        client: Client,
        name: String,
        readiness: Readiness,
        resolver: Arc<ReloadableResolver>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, name, readiness, resolver, metrics, known: Arc::default(), again: Arc::default() }
    }

    /// Checks a new certificate: immediately against the last known registration, and again after reading the current
    /// one.
    pub fn renewed(&self) {
        self.evaluate();
        self.again.notify_one();
    }

    /// Checks the registration for ever: at an interval, every second while the certificate is not trusted, and with
    /// each new certificate.
    pub async fn follow(&self, interval: Duration) {
        loop {
            match tokio::time::timeout(TIMEOUT, self.inspect()).await {
                Ok(Ok(called)) => *self.known.write().unwrap_or_else(PoisonError::into_inner) = called,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = errors::chain(&error),
                        "failed to read the webhook configurations"
                    );
                }
                Err(_) => tracing::warn!("the API server does not tell what is registered"),
            }
            let delay = if self.evaluate() { interval } else { interval.min(RETRY_DELAY) };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.again.notified() => {}
            }
        }
    }

    async fn inspect(&self) -> kube::Result<Vec<Called>> {
        let mut called = Vec::new();
        for which in Which::BOTH {
            let found = which.api(self.client.clone()).get_opt(&self.name).await?;
            let webhooks = found.as_ref().map(Called::of).unwrap_or_default();
            self.metrics.registered(which.kind(), webhooks.len());
            called.extend(webhooks);
        }
        Ok(called)
    }

    /// Returns true if the certificate is trusted.
    fn evaluate(&self) -> bool {
        let (chain, now) = (self.resolver.chain(), Timestamp::now());
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let doubts: Vec<_> = known
            .iter()
            .filter(|called| !called.trusts(&chain, now))
            .map(|called| &*called.webhook)
            .collect();
        let (was, is) = (!self.readiness.missing().contains(&TRUSTED), doubts.is_empty());
        if was && !is {
            tracing::error!(webhooks = doubts.join(", "), "the caBundle does not vouch for our certificate");
        } else if !was && is {
            tracing::info!("the caBundle vouches for our certificate");
        }
        self.readiness.set(TRUSTED, is);
        is
    }
}
