//! One namespace: look, plan, carry out, and open or close its gate.

use codex_k8s_shared::baseline::{self, Desired};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
use super::gate;
use super::inspection::{Violation, reason};
use super::inspection_cluster::Inspector;
use super::meta::MetaExt;
use super::plan::{Observed, Plan, Step, plan};
use super::quota::namespaces::{NamespaceQuota, QuotaStatus};

/// What was found in a namespace and done about it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// What was done, or with a dry run would be done.
    pub done: Vec<Step>,
    /// What is still to be done, or waited for.
    pub left: Plan,
    /// Whether the namespace was complete before, so that what was done repairs something.
    pub was_complete: bool,
    /// What became of the gate.
    pub gate: Gate,
    /// Whether the namespace's annotation was told anew what is waited for.
    pub reason_changed: bool,
    /// Whether it has its places.
    pub quota: QuotaStatus,
    /// Whether it is told for the first time that there is no place for it.
    pub newly_pending: bool,
    /// What was there before the namespace was guarded, and has to be removed before its gate opens.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether nothing is waited for.
    pub fn is_settled(&self) -> bool {
        self.left.is_complete()
            && self.violations.is_empty()
            && !matches!(self.quota, QuotaStatus::Pending(_) | QuotaStatus::Unknown)
    }
}

/// What became of a namespace's gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gate {
    /// It stays as it was.
    #[default]
    Unchanged,
    /// Workloads may run from now on.
    Opened,
    /// Workloads wait from now on.
    Closed,
}

/// Which steps are put off, and why. Namespaces go by their uid.
pub trait Backoff: Sync {
    /// Whether nothing is created yet in a namespace that the platform is building, where so many objects are missing.
    fn lets_the_platform_go_first(&self, uid: &str, missing: usize) -> bool;

    /// Whether a step is to wait: somebody may have undone it on purpose.
    fn puts_off(&self, uid: &str, step: &Step) -> bool;
}

/// Puts nothing off.
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

/// The objects that a namespace is to hold, from its metadata.
pub fn desired(policy: &RunPolicy, meta: &ObjectMeta) -> Vec<Desired> {
    let mode = RuntimeMode::parse_like_platform(meta.label(keys::RUNTIME_MODE).unwrap_or_default());
    baseline::desired(policy, meta.name.as_deref().unwrap_or_default(), mode)
}

/// Brings a namespace to what the policy wants.
///
/// # Errors
/// If it cannot be read or a step is refused; the gate is closed by then, if it was open and something was amiss.
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
    let mut said = meta.annotation(keys::BASELINE_WAITS_FOR).map(str::to_owned);
    if !left.is_complete() && observing.is_open {
        // It may be missing because the namespace ends, which its watch has not told yet.
        let now = cluster.namespace(observing.name).await?;
        if now.is_none_or(|now| now.uid != meta.uid || now.deletion_timestamp.is_some()) {
            return Ok(report);
        }
        gate::close(cluster, meta, &missing_text(&left)).await?;
        said = Some(missing_text(&left));
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
    // What was written may have been changed on its way in: only what is stored counts.
    left = plan(&observing.desired, &observed);
    if left.is_complete() && observing.was_never_open() {
        report.violations = inspector.inspect(policy, meta, &observing.desired).await?;
    }
    if left.is_complete() && report.violations.is_empty() {
        observing.admit(quota, &mut report).await?;
    } else {
        quota.dequeue(meta);
    }
    if !report.violations.is_empty() && said.as_deref() != Some(&*reason(&report.violations)) {
        gate::close(cluster, meta, &reason(&report.violations)).await?;
        report.reason_changed = true;
    }
    let lasts = !left.conflicts.is_empty() || !(left.steps.is_empty() || not_ready);
    if lasts && said != Some(missing_text(&left)) {
        gate::close(cluster, meta, &missing_text(&left)).await?;
        report.reason_changed = true;
    }
    report.left = left;
    Ok(report)
}

/// A namespace as it is looked at.
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
        let hash = baseline::hash(&desired);
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

    /// Whether the gate has never been open: only the reconciler writes the hash, and nothing removes it.
    fn was_never_open(&self) -> bool {
        self.meta.annotation(keys::BASELINE_HASH).is_none()
    }

    /// What is left over of another baseline is looked for only before this one is called complete: afterwards there
    /// is none, and before that something else is to be done first.
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

    /// Opens the gate of a complete namespace once it has its places, or says that there is none.
    async fn admit(&self, quota: &NamespaceQuota, report: &mut Report) -> kube::Result<()> {
        report.quota = quota.admit(&self.policy.quotas, self.meta).await?;
        let was_open = self.is_open && self.was_complete && report.gate != Gate::Closed;
        match &report.quota {
            QuotaStatus::Reserved if !was_open || self.meta.is_pending() => {
                let opened = gate::open(self.cluster, self.policy, self.meta, &self.hash).await;
                if !matches!(opened, Ok(true)) {
                    // It may be gone, and nobody else has seen yet what it was just given.
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

/// What a namespace waits for, as its annotation says it.
fn missing_text(plan: &Plan) -> String {
    plan.missing().join(", ").chars().take(1000).collect()
}

/// Takes a step, and its result into what was observed.
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
            // With a dry run the old one is still there, and would refuse.
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
