//! Whether the API server would take our certificate: what it is told to trust, compared with what we serve.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use codex_k8s_certs::ReloadableResolver;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Notify;

use super::Readiness;
use crate::registration::registered::{Called, Which};

/// What `/readyz` calls it.
pub const TRUSTED: &str = "certificate trusted by the caBundle in force";
/// How long the API server may take to tell what is registered.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Until we are trusted, no request is answered: whoever publishes whom to trust is waited for impatiently.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Keeps one condition of the readiness: every registered webhook's caBundle vouches for the certificate in force.
///
/// An API server that does not answer changes nothing: what was registered last counts on, and before the first answer
/// nothing speaks against us. Where nothing is registered, nobody calls.
#[derive(Clone)]
pub struct Trust {
    client: Client,
    name: String,
    readiness: Readiness,
    resolver: Arc<ReloadableResolver>,
    known: Arc<RwLock<Vec<Called>>>,
    again: Arc<Notify>,
}

impl Trust {
    /// For the configurations of a name.
    pub fn new(
        client: Client,
        name: String,
        readiness: Readiness,
        resolver: Arc<ReloadableResolver>,
    ) -> Self {
        Self { client, name, readiness, resolver, known: Arc::default(), again: Arc::default() }
    }

    /// A new certificate is in force: it is evaluated at once by what is known, and again by what is registered now.
    pub fn renewed(&self) {
        self.evaluate();
        self.again.notify_one();
    }

    /// Looks at what is registered, for ever: every so often, each second while nobody vouches for us, and with each new
    /// certificate.
    pub async fn follow(&self, interval: Duration) {
        loop {
            match tokio::time::timeout(TIMEOUT, self.inspect()).await {
                Ok(Ok(called)) => *self.known.write().unwrap_or_else(PoisonError::into_inner) = called,
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn Error, "failed to read the webhook configurations");
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
            called.extend(found.iter().flat_map(Called::of));
        }
        Ok(called)
    }

    /// Whether we are trusted.
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
