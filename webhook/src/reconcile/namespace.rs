//! One namespace: look, plan, carry out, and open or close its gate.

use std::time::Duration;

use codex_k8s_shared::baseline::{self, Desired};
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
use super::places::Waits;
use super::places_cluster::{Places, Standing, is_unplaced};
use super::plan::{Plan, Step, plan};

/// What was found in a namespace and done about it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The namespace.
    pub namespace: String,
    /// What was done, or with a dry run would be done.
    pub done: Vec<Step>,
    /// What is still to be done, or waited for.
    pub left: Plan,
    /// Whether the namespace was complete before, so that what was done repairs something.
    pub was_complete: bool,
    /// What became of the gate.
    pub gate: Gate,
    /// Whether it has its places.
    pub standing: Standing,
    /// Whether it is told for the first time that there is no place for it.
    pub newly_unplaced: bool,
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

/// Which steps are put off, and why: the platform may have undone them on purpose.
pub trait Patience: Sync {
    /// Whether a step is to wait.
    fn puts_off(&self, namespace: &str, step: &Step) -> bool;
}

/// Puts nothing off.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce;

impl Patience for AtOnce {
    fn puts_off(&self, _: &str, _: &Step) -> bool {
        false
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
}

/// The objects that a namespace is to hold, from its metadata.
pub fn wanted(policy: &RunPolicy, meta: &ObjectMeta) -> Vec<Desired> {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(keys::RUNTIME_MODE));
    let mode = RuntimeMode::parse_like_platform(label.map_or("", String::as_str));
    baseline::desired(policy, meta.name.as_deref().unwrap_or_default(), mode)
}

/// Whether a namespace is one that is looked after: managed, not protected, not on its way out.
pub fn is_concerned(policy: &RunPolicy, meta: &ObjectMeta) -> bool {
    let name = meta.name.as_deref().unwrap_or_default();
    let label = meta.labels.as_ref().and_then(|labels| labels.get(keys::MANAGED_BY));
    label.map(String::as_str) == Some(keys::MANAGED_BY_VALUE)
        && meta.deletion_timestamp.is_none()
        && !policy.namespaces.is_protected(name)
}

/// Brings a namespace to what the policy wants.
///
/// # Errors
/// If it cannot be read or a step is refused; the gate is closed by then, if it was open and something was amiss.
pub async fn reconcile(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    places: &Places,
    patience: &impl Patience,
) -> kube::Result<Report> {
    let name = meta.name.as_deref().unwrap_or_default();
    let wanted = wanted(policy, meta);
    let hash = baseline::hash(&wanted);
    let is_open = annotation(meta, keys::BASELINE_READY_AT).is_some();
    let was_complete = annotation(meta, keys::BASELINE_HASH) == Some(&hash);
    let mut left = plan(&wanted, &cluster.observe(name, &wanted).await?);
    let mut report = Report { namespace: name.to_owned(), was_complete, ..Report::default() };
    if !left.is_complete() && is_open {
        let closed = [(keys::BASELINE_READY_AT, None), (keys::BASELINE_WAITS_FOR, Some(words(&left)))];
        cluster.annotate(name, meta.uid.as_deref(), &closed).await?;
        report.gate = Gate::Closed;
    }
    for step in std::mem::take(&mut left.steps) {
        if patience.puts_off(name, &step) {
            left.steps.push(step);
        } else {
            carry_out(cluster, name, &step).await?;
            report.done.push(step);
        }
    }
    if !report.done.is_empty() && !cluster.is_dry_run() {
        // What was written may have been changed on its way in: only what is stored counts.
        left = plan(&wanted, &cluster.observe(name, &wanted).await?);
    }
    if left.is_complete() && (report.done.is_empty() || !cluster.is_dry_run()) {
        report.standing = places.stand(&policy.quotas, meta).await?;
        let write = Write { cluster, policy, meta, now: Timestamp::now() };
        match &report.standing {
            Standing::Placed if !(is_open && was_complete) || is_unplaced(meta) => {
                if let Err(error) = write.open(hash).await {
                    // It may be gone, and nobody else has seen yet what it was just given.
                    places.release(name, meta.uid.as_deref().unwrap_or_default()).await?;
                    return Err(error);
                }
                report.gate = Gate::Opened;
            }
            Standing::Waits(waits) => report.newly_unplaced = write.wait(waits).await?,
            Standing::Placed | Standing::Uncounted | Standing::Unasked => {}
        }
    } else {
        places.step_aside(meta);
    }
    let lasts = !left.foreign.is_empty() || !left.steps.is_empty();
    if lasts && annotation(meta, keys::BASELINE_WAITS_FOR) != Some(&words(&left)) {
        let told = [(keys::BASELINE_WAITS_FOR, Some(words(&left)))];
        cluster.annotate(name, meta.uid.as_deref(), &told).await?;
    }
    report.left = left;
    Ok(report)
}

/// What is written about a namespace's places: each time in one patch.
struct Write<'a> {
    cluster: &'a Cluster,
    policy: &'a RunPolicy,
    meta: &'a ObjectMeta,
    now: Timestamp,
}

impl Write<'_> {
    /// Workloads may run. A lease that was cut short for want of a place is granted anew.
    async fn open(&self, hash: String) -> kube::Result<()> {
        let mut annotations = vec![
            (keys::BASELINE_READY_AT, Some(self.written_now())),
            (keys::BASELINE_HASH, Some(hash)),
            (keys::BASELINE_WAITS_FOR, None),
            (keys::UNPLACED_SINCE, None),
        ];
        if is_unplaced(self.meta) {
            let role = self.meta.labels.as_ref().and_then(|labels| labels.get(keys::AGENT_KEY));
            let ttl = self.policy.lease.ttl_for(role.map(String::as_str));
            let ends_later = |new: &Lease| self.lease().is_none_or(|lease| new.expires_at > lease.expires_at);
            annotations.extend(self.granted(ttl).filter(ends_later).into_iter().flat_map(written));
        }
        self.annotate(&annotations).await
    }

    /// There is no place. The first time, the lease is cut short; returns whether it is.
    async fn wait(&self, waits: &Waits) -> kube::Result<bool> {
        let first = !is_unplaced(self.meta);
        let told = annotation(self.meta, keys::BASELINE_WAITS_FOR).unwrap_or_default();
        if !first && waits.is_said_by(told, self.now) {
            return Ok(false);
        }
        let mut annotations = vec![(keys::BASELINE_WAITS_FOR, Some(waits.to_string()))];
        if first {
            annotations.push((keys::UNPLACED_SINCE, Some(self.written_now())));
            let ends_earlier =
                |new: &Lease| self.lease().is_some_and(|lease| new.expires_at < lease.expires_at);
            let cut = self.granted(self.policy.quotas.unplaced_ttl).filter(ends_earlier);
            annotations.extend(cut.into_iter().flat_map(written));
        }
        self.annotate(&annotations).await?;
        Ok(first)
    }

    fn written_now(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn lease(&self) -> Option<Lease> {
        Lease::read(|key| annotation(self.meta, key)).ok().flatten()
    }

    /// A lease from now on, or from its last renewal: whoever wrote that may have a clock ahead of ours.
    fn granted(&self, ttl: Duration) -> Option<Lease> {
        let renewed = self.lease().map(|lease| lease.updated_at.timestamp());
        Lease::grant(renewed.map_or(self.now, |renewed| renewed.max(self.now)), ttl.into())
    }

    async fn annotate(&self, annotations: &[(&str, Option<String>)]) -> kube::Result<()> {
        let name = self.meta.name.as_deref().unwrap_or_default();
        self.cluster.annotate(name, self.meta.uid.as_deref(), annotations).await
    }
}

fn written(lease: Lease) -> [(&'static str, Option<String>); 3] {
    [
        (keys::NAMESPACE_LEASE_TTL, Some(lease.ttl.to_string())),
        (keys::NAMESPACE_LEASE_EXPIRES_AT, Some(lease.expires_at.to_string())),
        (keys::NAMESPACE_LEASE_UPDATED_AT, Some(lease.updated_at.to_string())),
    ]
}

/// What a namespace waits for, as its annotation says it.
fn words(plan: &Plan) -> String {
    plan.missing().join(", ").chars().take(1000).collect()
}

async fn carry_out(cluster: &Cluster, namespace: &str, step: &Step) -> kube::Result<()> {
    match step {
        Step::Create(wanted) | Step::Heal(wanted, _) => cluster.apply(namespace, wanted).await.map(drop),
        Step::Replace(wanted, drift) => {
            cluster.delete(namespace, wanted.kind, &wanted.name, drift.uid.clone()).await?;
            if cluster.is_dry_run() {
                return Ok(());
            }
            cluster.apply(namespace, wanted).await.map(drop)
        }
        Step::Remove(kind, name) => cluster.delete(namespace, *kind, name, None).await,
    }
}
