//! What the reconciler counts.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::plan::Step;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Repair {
    kind: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    to: &'static str,
}

/// The reconciler's metrics and the registry that shows them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    writes: Family<Repair, Counter>,
    gates: Family<Moved, Counter>,
    /// Namespaces that were looked at.
    pub looks: Counter,
    /// Looks that failed.
    pub failures: Counter,
    /// Objects of somebody else that were found under a baseline name.
    pub foreign: Counter,
    /// 1 while this process leads.
    pub leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("codex_k8s_reconcile"),
            writes: Family::default(),
            gates: Family::default(),
            looks: Counter::default(),
            failures: Counter::default(),
            foreign: Counter::default(),
            leading: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("writes", "Baseline objects written, by kind and action", metrics.writes.clone());
        registry.register("gates", "Gates that were opened or closed", metrics.gates.clone());
        registry.register("looks", "Namespaces that were looked at", metrics.looks.clone());
        registry.register("failures", "Looks that failed", metrics.failures.clone());
        registry.register("foreign", "Foreign objects found under a baseline name", metrics.foreign.clone());
        registry.register("leading", "1 while this process leads", metrics.leading.clone());
        metrics
    }
}

impl Metrics {
    /// Counts a step that was carried out.
    pub fn wrote(&self, step: &Step) {
        let (kind, action) = match step {
            Step::Create(wanted) => (wanted.kind, "create"),
            Step::Heal(wanted, _) => (wanted.kind, "heal"),
            Step::Replace(wanted, _) => (wanted.kind, "replace"),
            Step::Remove(kind, ..) => (*kind, "remove"),
        };
        self.writes.get_or_create(&Repair { kind: kind.as_str(), action }).inc();
    }

    /// Counts a gate that moved.
    pub fn gate(&self, to: &'static str) {
        self.gates.get_or_create(&Moved { to }).inc();
    }

    /// The exposition, in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        let mut exposition = String::new();
        // Writing into a String cannot fail.
        let _ = text::encode(&mut exposition, &self.registry);
        exposition
    }
}
