//! One namespace: look, plan, carry out, and open or close its gate.

use codex_k8s_shared::baseline::{self, Desired};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
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
    if left.is_complete() && (report.done.is_empty() || !cluster.is_dry_run()) && !(is_open && was_complete) {
        let ready = [
            (keys::BASELINE_READY_AT, Some(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
            (keys::BASELINE_HASH, Some(hash)),
            (keys::BASELINE_WAITS_FOR, None),
        ];
        cluster.annotate(name, meta.uid.as_deref(), &ready).await?;
        report.gate = Gate::Opened;
    }
    let lasts = !left.foreign.is_empty() || !left.steps.is_empty();
    if lasts && annotation(meta, keys::BASELINE_WAITS_FOR) != Some(&words(&left)) {
        let told = [(keys::BASELINE_WAITS_FOR, Some(words(&left)))];
        cluster.annotate(name, meta.uid.as_deref(), &told).await?;
    }
    report.left = left;
    Ok(report)
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
