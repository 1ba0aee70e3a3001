//! Reconciliation of one namespace: observe, plan, carry out, and open or close its gate.

use codex_k8s_shared::baseline::{Desired, hash};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
use super::gate;
use super::inspection::{Violation, reason};
use super::inspection_cluster::Inspector;
use super::quota::namespaces::{NamespaceQuota, QuotaStatus};
use crate::baseline::desired;
use crate::baseline::meta::MetaExt;
use crate::baseline::plan::{Observed, Plan, Step, plan};

/// The outcome of a reconciliation.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The steps that were carried out, or would be in a dry run.
    pub done: Vec<Step>,
    /// The steps that are left, and the objects to wait for.
    pub left: Plan,
    /// True if the namespace was complete before, so that the steps are repairs.
    pub was_complete: bool,
    /// The change of the gate.
    pub gate: Gate,
    /// True if the annotation with the reason to wait was changed.
    pub reason_changed: bool,
    /// The state of its reservations.
    pub quota: QuotaStatus,
    /// True if the namespace has just become pending.
    pub newly_pending: bool,
    /// The objects that existed before the namespace was guarded, and must be removed before its gate opens.
    pub violations: Vec<Violation>,
}

impl Report {
    /// True if the namespace waits for nothing.
    pub fn is_settled(&self) -> bool {
        self.left.is_complete()
            && self.violations.is_empty()
            && !matches!(self.quota, QuotaStatus::Pending(_) | QuotaStatus::Unknown)
    }
}

/// The change of a namespace's gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gate {
    /// The gate stays as it was.
    #[default]
    Unchanged,
    /// Workloads may run from now on.
    Opened,
    /// Workloads wait from now on.
    Closed,
}

/// Decides which steps are delayed. Namespaces are identified by their uid.
pub trait Backoff: Sync {
    /// True if nothing is created yet in a namespace that the platform is building, with so many missing objects.
    fn lets_the_platform_go_first(&self, uid: &str, missing: usize) -> bool;

    /// True if a step must wait, because another client may have undone it on purpose.
    fn puts_off(&self, uid: &str, step: &Step) -> bool;
}

/// Delays no steps.
#[derive(Debug, Clone, Copy)]
pub struct NoBackoff;

impl Backoff for NoBackoff {
    fn lets_the_platform_go_first(&self, _: &str, _: usize) -> bool {
        false
    }

    fn puts_off(&self, _: &str, _: &Step) -> bool {
        false
    }
}

/// Brings a namespace into the state that the policy defines.
///
/// # Errors
/// Returns an error if the namespace cannot be read or a step is refused. By then, the gate is closed if it was open
/// and the baseline was not complete.
pub async fn reconcile(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    quota: &NamespaceQuota,
    inspector: &Inspector,
    backoff: &impl Backoff,
) -> kube::Result<Report> {
    let observing = Observing::new(cluster, policy, meta);
    let mut observed = observing.observe().await?;
    let mut left = plan(&observing.desired, &observed);
    let mut report = Report {
        namespace: observing.name.to_owned(),
        uid: observing.uid.to_owned(),
        was_complete: observing.was_complete,
        ..Report::default()
    };
    let mut written_reason = meta.annotation(keys::BASELINE_WAITS_FOR).map(str::to_owned);
    if !left.is_complete() && observing.is_open {
        // Objects may be missing because the namespace is being deleted, which the watch has not delivered yet.
        let now = cluster.namespace(observing.name).await?;
        if now.is_none_or(|now| now.uid != meta.uid || now.deletion_timestamp.is_some()) {
            return Ok(report);
        }
        gate::close(cluster, meta, &missing_text(&left)).await?;
        written_reason = Some(missing_text(&left));
        (report.gate, report.reason_changed) = (Gate::Closed, true);
    }
    let not_ready =
        meta.is_being_built(policy) && backoff.lets_the_platform_go_first(observing.uid, left.creations());
    for step in std::mem::take(&mut left.steps) {
        let waits = not_ready && matches!(step, Step::Create(_));
        if !waits && !backoff.puts_off(observing.uid, &step) {
            carry_out(cluster, observing.name, &step, &mut observed).await?;
            report.done.push(step);
        }
    }
    // Other webhooks may have changed the written objects: only the stored ones count.
    left = plan(&observing.desired, &observed);
    if left.is_complete() && observing.was_never_open() {
        report.violations = inspector.inspect(policy, meta, &observing.desired).await?;
    }
    if left.is_complete() && report.violations.is_empty() {
        observing.admit(quota, &mut report).await?;
    } else {
        quota.dequeue(meta);
    }
    if !report.violations.is_empty() && written_reason.as_deref() != Some(&*reason(&report.violations)) {
        gate::close(cluster, meta, &reason(&report.violations)).await?;
        report.reason_changed = true;
    }
    let lasts = !left.conflicts.is_empty() || !(left.steps.is_empty() || not_ready);
    if lasts && written_reason != Some(missing_text(&left)) {
        gate::close(cluster, meta, &missing_text(&left)).await?;
        report.reason_changed = true;
    }
    report.left = left;
    Ok(report)
}

/// A namespace during its reconciliation.
struct Observing<'a> {
    cluster: &'a Cluster,
    policy: &'a RunPolicy,
    meta: &'a ObjectMeta,
    name: &'a str,
    uid: &'a str,
    desired: Vec<Desired>,
    hash: String,
    is_open: bool,
    was_complete: bool,
}

impl<'a> Observing<'a> {
    fn new(cluster: &'a Cluster, policy: &'a RunPolicy, meta: &'a ObjectMeta) -> Self {
        let desired = desired(policy, meta);
        let hash = hash(&desired);
        Self {
            cluster,
            policy,
            meta,
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            is_open: meta.annotation(keys::BASELINE_READY_AT).is_some(),
            was_complete: meta.annotation(keys::BASELINE_HASH) == Some(&hash),
            desired,
            hash,
        }
    }

    /// True if the gate has never been open: only the reconciler writes the hash, and nothing removes it.
    fn was_never_open(&self) -> bool {
        self.meta.annotation(keys::BASELINE_HASH).is_none()
    }

    /// Reads the objects of the namespace. Leftovers of another baseline are listed only before this one becomes
    /// complete: afterwards there are none, and while objects are missing, those must be created first.
    async fn observe(&self) -> kube::Result<Observed> {
        let mut observed = self.cluster.observe(self.name, &self.desired).await?;
        let nothing_is_missing = observed.len() == self.desired.len();
        if !self.was_complete && (nothing_is_missing || self.cluster.is_dry_run()) {
            let mut labelled = self.cluster.everything_labelled(self.name).await?;
            labelled.append(&mut observed);
            observed = labelled;
        }
        Ok(observed)
    }

    /// Opens the gate of a complete namespace if it has its reservations, or records that it is pending.
    async fn admit(&self, quota: &NamespaceQuota, report: &mut Report) -> kube::Result<()> {
        report.quota = quota.admit(&self.policy.quotas, self.meta).await?;
        let was_open = self.is_open && self.was_complete && report.gate != Gate::Closed;
        match &report.quota {
            QuotaStatus::Reserved if !was_open || self.meta.is_pending() => {
                let opened = gate::open(self.cluster, self.policy, self.meta, &self.hash).await;
                if !matches!(opened, Ok(true)) {
                    // The namespace may be gone, and no other part has seen the new reservations yet.
                    quota.release(self.name, self.uid).await?;
                }
                if opened? {
                    report.gate = Gate::Opened;
                }
            }
            QuotaStatus::Pending(waits) => {
                report.newly_pending = gate::wait(self.cluster, self.policy, self.meta, waits).await?;
            }
            QuotaStatus::Reserved | QuotaStatus::Unknown | QuotaStatus::NotRequested => {}
        }
        Ok(())
    }
}

/// Formats the reason to wait for the annotation.
fn missing_text(plan: &Plan) -> String {
    plan.missing().join(", ").chars().take(1000).collect()
}

/// Carries out a step and updates the observed objects.
async fn carry_out(
    cluster: &Cluster,
    namespace: &str,
    step: &Step,
    observed: &mut Observed,
) -> kube::Result<()> {
    let (desired, stored) = match step {
        Step::Create(desired) | Step::Repair(desired, _) => {
            (desired, cluster.apply(namespace, desired).await?)
        }
        Step::Replace(desired, drift) => {
            cluster.delete(namespace, desired.kind, &desired.name, drift.uid.clone()).await?;
            // In a dry run the old object still exists, so that an apply would be refused.
            let stored = if cluster.is_dry_run() {
                desired.object.clone()
            } else {
                cluster.apply(namespace, desired).await?
            };
            (desired, stored)
        }
        Step::Remove(kind, name, uid) => {
            cluster.delete(namespace, *kind, name, uid.clone()).await?;
            observed.remove(&(*kind, name.clone()));
            return Ok(());
        }
    };
    observed.insert(desired.key(), stored);
    Ok(())
}
