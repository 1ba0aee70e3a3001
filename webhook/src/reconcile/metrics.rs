//! Metrics of the reconciler.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use codex_k8s_certs::plan::{State, Stored};
use codex_k8s_certs::trust;
use codex_k8s_shared::baseline::BaselineKind;
use codex_k8s_shared::build_info::BuildInfo;
use codex_k8s_shared::last_sweep::{PREFIX, SweepCollector};
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::fault::Written;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BaselineWrite {
    kind: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedFor {
    waits_for: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeKind {
    scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadReason {
    reason: &'static str,
}

/// The metrics of the reconciler and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The versions of the program and the API server.
    pub build: BuildInfo,
    /// The registry of the garbage collector's last sweep.
    of_sweeps: Registry,
    /// The garbage collector's last sweep.
    pub last_sweep: Arc<SweepCollector>,
    writes: Family<BaselineWrite, Counter>,
    gates: Family<Moved, Counter>,
    closed: Family<ClosedFor, Gauge>,
    closed_since: Family<ClosedFor, Gauge>,
    held: Family<ScopeKind, Gauge>,
    limits: Family<ScopeKind, Gauge>,
    refused: Family<ScopeKind, Counter>,
    released: Family<ScopeKind, Counter>,
    leaked: Counter,
    waiting: Gauge,
    jobs_pending: Gauge,
    certificate_writes: Family<What, Counter>,
    certificate_ends: Family<What, Gauge<f64, AtomicU64>>,
    registration_repairs: Family<What, Counter>,
    registration_contested: Family<What, Gauge>,
    /// 1 while certificate rotation is paused, because an object is owned by another manager or clocks disagree.
    pub certificates_refused: Gauge,
    /// Agent Jobs whose suspension was lifted.
    pub jobs_admitted: Counter,
    /// Reconciliations of namespaces.
    pub reconciles: Counter,
    /// Reconciliations that failed.
    pub failures: Counter,
    /// Objects with a baseline name that another manager owns.
    pub conflicts: Counter,
    reload_failures: Family<ReloadReason, Counter>,
    last_reload: Family<ReloadReason, Gauge>,
    /// 1 while this process leads.
    pub leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("codex_k8s_reconcile"),
            build: BuildInfo::new("reconcile"),
            of_sweeps: Registry::with_prefix(PREFIX),
            last_sweep: Arc::default(),
            writes: Family::default(),
            gates: Family::default(),
            closed: Family::default(),
            closed_since: Family::default(),
            held: Family::default(),
            limits: Family::default(),
            refused: Family::default(),
            released: Family::default(),
            leaked: Counter::default(),
            waiting: Gauge::default(),
            jobs_pending: Gauge::default(),
            certificate_writes: Family::default(),
            certificate_ends: Family::default(),
            registration_repairs: Family::default(),
            registration_contested: Family::default(),
            certificates_refused: Gauge::default(),
            jobs_admitted: Counter::default(),
            reconciles: Counter::default(),
            failures: Counter::default(),
            conflicts: Counter::default(),
            reload_failures: Family::default(),
            last_reload: Family::default(),
            leading: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("writes", "Baseline objects written, by kind and action", metrics.writes.clone());
        registry.register("gates", "Gates that were opened or closed", metrics.gates.clone());
        registry.register("reconcile", "Reconciled namespaces", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Reconciliations that failed", metrics.failures.clone());
        registry.register(
            "baseline_conflicts",
            "Objects with a baseline name that another manager owns",
            metrics.conflicts.clone(),
        );
        registry.register("leading", "1 while this process leads", metrics.leading.clone());
        let since = metrics.closed_since.clone();
        registry.register(
            "closed_gates",
            "Gates that are closed, by what they wait for",
            metrics.closed.clone(),
        );
        registry.register(
            "oldest_closed_gate_timestamp_seconds",
            "When the oldest currently closed gate was closed",
            since,
        );
        metrics.of_sweeps.register_collector(Box::new(Arc::clone(&metrics.last_sweep)));
        metrics.register_quotas();
        metrics.register_certificates();
        metrics.register_reloads();
        metrics
    }
}

impl Metrics {
    fn register_quotas(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "quota_reservations",
            "Reservations that are held, by kind of scope",
            self.held.clone(),
        );
        let limits = self.limits.clone();
        registry.register("quota_limit", "Limit of a scope of this kind, without overrides", limits);
        let refused = self.refused.clone();
        registry.register("quota_exceeded", "Namespaces and agent Jobs whose scope was full", refused);
        registry.register(
            "quota_reservations_released",
            "Reservations released because their holder is gone or has ended",
            self.released.clone(),
        );
        let leaked = self.leaked.clone();
        registry.register(
            "quota_reservations_leaked",
            "Reservations that only the periodic comparison found to be free",
            leaked,
        );
        registry.register(
            "quota_pending_namespaces",
            "Namespaces that wait for a reservation",
            self.waiting.clone(),
        );
        let jobs = self.jobs_pending.clone();
        registry.register("jobs_pending", "Agent Jobs that wait for a reservation", jobs);
        let started = self.jobs_admitted.clone();
        registry.register("jobs_admitted", "Agent Jobs whose suspension was lifted", started);
    }

    fn register_reloads(&mut self) {
        let registry = &mut self.registry;
        let reloads = self.reload_failures.clone();
        registry.register("reload_failures", "Policies that could not be loaded", reloads);
        let last_reload = self.last_reload.clone();
        registry.register(
            "last_reload_successful",
            "1 if the file was valid when it was last read",
            last_reload,
        );
        self.reloaded("policy");
    }

    fn register_certificates(&mut self) {
        let registry = &mut self.registry;
        let writes = self.certificate_writes.clone();
        registry.register(
            "certificate_writes",
            "Writes of the certificate rotation, by the object that they write",
            writes,
        );
        let ends = self.certificate_ends.clone();
        registry.register(
            "certificate_not_after_seconds",
            "When the CA and the serving certificate expire",
            ends,
        );
        let refused = self.certificates_refused.clone();
        registry.register("certificates_refused", "1 while certificate rotation is paused", refused);
        let repairs = self.registration_repairs.clone();
        registry.register("registration_repairs", "Webhook configurations that were repaired", repairs);
        registry.register(
            "registration_contested",
            "1 while another writer keeps changing a webhook configuration",
            self.registration_contested.clone(),
        );
    }

    /// Counts a write of the certificate rotation.
    pub fn certificate_written(&self, written: Written) {
        self.certificate_writes.get_or_create(&What { what: written.as_str() }).inc();
    }

    /// Counts a webhook configuration that was repaired.
    pub fn registration_repaired(&self, what: &'static str) {
        self.registration_repairs.get_or_create(&What { what }).inc();
    }

    /// Sets whether another writer keeps changing a webhook configuration.
    pub fn registration_contested(&self, what: &'static str, is_contested: bool) {
        self.registration_contested.get_or_create(&What { what }).set(is_contested.into());
    }

    /// Sets the expiry times of the CA and the serving certificate. Missing certificates are not exported.
    pub fn certificates_end(&self, state: &State) {
        let authority = match &state.authority {
            Stored::Ours(data) => trust::end_of(&data.certificate),
            Stored::Missing | Stored::OtherOwner => None,
        };
        let leaf = match &state.leaf {
            Stored::Ours(data) => trust::end_of(&data.certificate),
            Stored::Missing | Stored::OtherOwner => None,
        };
        self.certificate_ends.clear();
        for (what, end) in [("authority", authority), ("leaf", leaf)] {
            if let Some(end) = end {
                self.certificate_ends.get_or_create(&What { what }).set(end.as_duration().as_secs_f64());
            }
        }
    }

    /// Sets the number of held reservations, by kind of scope, and the number of pending namespaces and agent Jobs.
    pub fn reservations(&self, kinds: impl Iterator<Item = &'static str>, namespaces: usize, jobs: usize) {
        let mut counts = Scope::KINDS.map(|kind| (kind, 0));
        for kind in kinds {
            for (_, count) in counts.iter_mut().filter(|(counted, _)| *counted == kind) {
                *count += 1;
            }
        }
        for (scope, count) in counts {
            self.held.get_or_create(&ScopeKind { scope }).set(count);
        }
        for (gauge, waiting) in [(&self.waiting, namespaces), (&self.jobs_pending, jobs)] {
            gauge.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    /// Sets the limits. Kinds of scopes without a limit are not exported.
    pub fn limits(&self, quotas: &Quotas) {
        let limits = [
            quotas.cluster.map(|limit| limit.max),
            quotas.per_project.as_ref().map(|limit| limit.max),
            quotas.per_requester.map(|limit| limit.max),
            quotas.agent_jobs_per_project.as_ref().map(|limit| limit.max),
        ];
        self.limits.clear();
        for (scope, max) in Scope::KINDS.into_iter().zip(limits) {
            if let Some(max) = max {
                self.limits.get_or_create(&ScopeKind { scope }).set(max.into());
            }
        }
    }

    /// Counts a namespace or agent Job whose scope was full, by kind of scope.
    pub fn refused(&self, scope: &'static str) {
        self.refused.get_or_create(&ScopeKind { scope }).inc();
    }

    /// Counts a released reservation.
    pub fn released(&self, scope: &'static str) {
        self.released.get_or_create(&ScopeKind { scope }).inc();
    }

    /// Counts reservations that were released although no watch had reported that their holder is gone.
    pub(crate) fn leaked(&self, reservations: usize) {
        self.leaked.inc_by(u64::try_from(reservations).unwrap_or(u64::MAX));
    }

    /// Counts a write of a baseline object.
    pub fn wrote(&self, kind: BaselineKind, action: &'static str) {
        self.writes.get_or_create(&BaselineWrite { kind: kind.as_str(), action }).inc();
    }

    /// Counts a file that could not be reloaded: the previous one is kept.
    pub fn reload_failed(&self, reason: &'static str) {
        self.reload_failures.get_or_create(&ReloadReason { reason }).inc();
        self.last_reload.get_or_create(&ReloadReason { reason }).set(0);
    }

    /// Records that a file was valid when it was last read.
    pub fn reloaded(&self, reason: &'static str) {
        self.last_reload.get_or_create(&ReloadReason { reason }).set(1);
    }

    /// Counts a gate that was opened or closed.
    pub fn gate(&self, to: &'static str) {
        self.gates.get_or_create(&Moved { to }).inc();
    }

    /// Exports the closed gates: the label of what they wait for, their number, and the start of the longest wait,
    /// which is exported only if there is one.
    pub fn closed_gates(&self, gates: impl IntoIterator<Item = (&'static str, usize, Option<Timestamp>)>) {
        self.closed_since.clear();
        for (waits_for, count, since) in gates {
            let label = ClosedFor { waits_for };
            self.closed.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            if let Some(since) = since {
                self.closed_since.get_or_create(&label).set(since.as_second());
            }
        }
    }

    /// Stops exporting the metrics of the leader, because another process leads.
    pub fn stop_leading(&self) {
        self.leading.set(0);
        self.closed.clear();
        self.closed_since.clear();
    }

    /// Returns the exposition in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        self.build.exposition(&[&self.registry, &self.of_sweeps])
    }
}
