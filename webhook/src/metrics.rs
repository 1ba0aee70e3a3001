//! Metrics of the webhook. Labels are bounded: rule ids, operations and known kinds, never names or texts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use codex_k8s_shared::build_info::BuildInfo;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::review::{Entry, Operation};
use crate::rules::Kind;

/// The first bucket is 50 microseconds: the API server's own histogram begins at 5 milliseconds, which is longer than
/// any decision here.
const BUCKETS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0,
];

/// The labels of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Decision {
    /// The entry.
    pub entry: &'static str,
    /// The rule, or `none`.
    pub rule: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// The kind, or `other`.
    pub kind: &'static str,
    /// `true` for a dry run, else `false`.
    pub dry_run: &'static str,
    /// `allowed`, `mutated`, `denied`, `warned`, `audited` or `failed`.
    pub outcome: &'static str,
}

impl Decision {
    /// Returns the labels of a decision about a request.
    pub const fn new(entry: Entry, operation: Operation, kind: Option<Kind>, dry_run: bool) -> Self {
        Self {
            entry: entry.as_str(),
            rule: "none",
            operation: operation.as_str(),
            kind: match kind {
                Some(Kind::Namespace) => "Namespace",
                Some(Kind::Job) => "Job",
                Some(Kind::CronJob) => "CronJob",
                Some(Kind::Pod) => "Pod",
                Some(Kind::Template) => "PodTemplate",
                Some(Kind::Revision) => "ControllerRevision",
                Some(Kind::Binding) => "Binding",
                Some(Kind::ServiceAccount) => "ServiceAccount",
                Some(Kind::Role) => "Role",
                Some(Kind::RoleBinding) => "RoleBinding",
                Some(Kind::ClusterRole) => "ClusterRole",
                Some(Kind::ClusterRoleBinding) => "ClusterRoleBinding",
                Some(Kind::ResourceQuota) => "ResourceQuota",
                Some(Kind::LimitRange) => "LimitRange",
                Some(Kind::Secret) => "Secret",
                Some(Kind::TokenRequest) => "TokenRequest",
                None => "other",
            },
            dry_run: if dry_run { "true" } else { "false" },
            outcome: "allowed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabel {
    entry: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HashLabel {
    hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigurationLabel {
    configuration: &'static str,
}

/// The files that are reloaded.
const RELOADED: [&str; 2] = ["certificate", "policy"];

/// The webhook's metrics and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The versions of the program and the API server.
    pub build: BuildInfo,
    decisions: Family<Decision, Counter>,
    duration: Family<EntryLabel, Histogram>,
    refused: Family<ReasonLabel, Counter>,
    reload_failures: Family<ReasonLabel, Counter>,
    last_reload: Family<ReasonLabel, Gauge>,
    registered: Family<ConfigurationLabel, Gauge>,
    policy: Family<HashLabel, Gauge>,
    last_watch_event: Gauge,
    /// Requests in progress.
    pub in_flight: Gauge,
    /// Panics that were caught.
    pub panics: Counter,
    /// Managed namespaces in the cache.
    pub namespaces: Gauge,
    /// The expiry of the serving certificate, in seconds since 1970.
    pub certificate_not_after: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("codex_k8s_webhook"),
            build: BuildInfo::new("serve"),
            decisions: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            refused: Family::default(),
            reload_failures: Family::default(),
            last_reload: Family::default(),
            registered: Family::default(),
            policy: Family::default(),
            last_watch_event: Gauge::default(),
            in_flight: Gauge::default(),
            panics: Counter::default(),
            namespaces: Gauge::default(),
            certificate_not_after: Gauge::default(),
        };
        metrics.register();
        for reason in RELOADED {
            metrics.reloaded(reason);
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("decisions", "Decisions, by rule and outcome", self.decisions.clone());
        registry.register(
            "review_duration_seconds",
            "From a whole body to its answer",
            self.duration.clone(),
        );
        registry.register("requests_refused", "Requests without a decision, by reason", self.refused.clone());
        registry.register(
            "reload_failures",
            "Reloads that failed and left the old in force",
            self.reload_failures.clone(),
        );
        registry.register(
            "last_reload_successful",
            "1 if the file was valid when it was last read",
            self.last_reload.clone(),
        );
        registry.register(
            "registered_webhooks",
            "Webhooks in each registered webhook configuration",
            self.registered.clone(),
        );
        registry.register("policy_info", "1 for the hash of the policy in force", self.policy.clone());
        registry.register("in_flight", "Requests that are being decided", self.in_flight.clone());
        registry.register("panics", "Panics that were caught", self.panics.clone());
        registry.register("managed_namespaces", "Managed namespaces in the cache", self.namespaces.clone());
        let seen = self.last_watch_event.clone();
        registry.register(
            "watch_last_event_timestamp_seconds",
            "When the watch that feeds the cache was last heard, be it a bookmark",
            seen,
        );
        let not_after = self.certificate_not_after.clone();
        registry.register("certificate_not_after_seconds", "When the serving certificate ends", not_after);
    }

    /// Counts a decision.
    pub fn decided(&self, decision: &Decision) {
        self.decisions.get_or_create(decision).inc();
    }

    /// Records the duration of a decision.
    pub fn took(&self, entry: Entry, duration: Duration) {
        self.duration.get_or_create(&EntryLabel { entry: entry.as_str() }).observe(duration.as_secs_f64());
    }

    /// Counts a request that was answered without a decision.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a failed reload of the `policy` or the `certificate`.
    pub fn reload_failed(&self, what: &'static str) {
        let label = ReasonLabel { reason: what };
        self.reload_failures.get_or_create(&label).inc();
        self.last_reload.get_or_create(&label).set(0);
    }

    /// Records that the `policy` or the `certificate` was valid when it was last read.
    pub fn reloaded(&self, what: &'static str) {
        self.last_reload.get_or_create(&ReasonLabel { reason: what }).set(1);
    }

    /// Sets the number of webhooks in a registered webhook configuration; 0 if it does not exist.
    pub fn registered(&self, configuration: &'static str, webhooks: usize) {
        let label = ConfigurationLabel { configuration };
        self.registered.get_or_create(&label).set(i64::try_from(webhooks).unwrap_or(i64::MAX));
    }

    /// Records the time of the last event of the namespace watch.
    pub(crate) fn namespace_watch_event(&self, now: Timestamp) {
        self.last_watch_event.set(now.as_second());
    }

    /// Exports the hash of the current policy.
    pub fn policy_in_force(&self, hash: &str) {
        self.policy.clear();
        self.policy.get_or_create(&HashLabel { hash: hash.to_owned() }).set(1);
    }

    /// Renders the metrics in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        self.build.exposition(&[&self.registry])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_shows_decisions_latency_certificate_and_policy() {
        let metrics = Metrics::default();
        let decision = Decision::new(Entry::Validate, Operation::Create, Some(Kind::Job), true);
        metrics.decided(&Decision { rule: "JOB004", outcome: "denied", ..decision });
        metrics.took(Entry::Validate, Duration::from_micros(70));
        metrics.certificate_not_after.set(1_767_225_600.0);
        metrics.policy_in_force("old");
        metrics.policy_in_force("0123456789abcdef");
        let text = metrics.render();
        for line in [
            r#"codex_k8s_webhook_decisions_total{entry="validate",rule="JOB004",operation="CREATE",kind="Job",dry_run="true",outcome="denied"} 1"#,
            r#"codex_k8s_webhook_review_duration_seconds_bucket{le="0.0001",entry="validate"} 1"#,
            "codex_k8s_webhook_certificate_not_after_seconds 1767225600",
            r#"codex_k8s_webhook_policy_info{hash="0123456789abcdef"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("\"old\""), "a policy that is no longer in force is no longer shown");
    }
}
