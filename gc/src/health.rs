//! The state of the daemon's sweeps, as its metrics show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use codex_k8s_shared::build_info::BuildInfo;
use codex_k8s_shared::last_sweep::{PREFIX, SweepCollector};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The state of the sweeps.
#[derive(Debug)]
pub struct Health {
    /// The last sweep of any process.
    pub last: Arc<SweepCollector>,
    /// The versions of the program and the API server.
    pub build: BuildInfo,
    next: AtomicI64,
}

impl Default for Health {
    fn default() -> Self {
        Self { last: Arc::default(), build: BuildInfo::new("daemon"), next: AtomicI64::default() }
    }
}

impl Health {
    /// The time of the next sweep; `None` for never.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        let next = self.next.load(Ordering::Relaxed);
        (next != 0).then(|| Timestamp::from_second(next).ok()).flatten()
    }

    /// Sets the time of the next sweep.
    pub fn next(&self, next: Option<Timestamp>) {
        self.next.store(next.map_or(0, Timestamp::as_second), Ordering::Relaxed);
    }

    /// The metrics, in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Arc::clone(&self.last)));
        let next = Gauge::<i64>::default();
        next.set(self.next.load(Ordering::Relaxed));
        registry.register(
            "next_start_timestamp_seconds",
            "When the next sweep is to begin; 0 for never",
            next,
        );
        self.build.exposition(&[&registry])
    }
}
