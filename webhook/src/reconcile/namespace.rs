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
use super::places_cluster::{Places, Standing, is_unplaced};
use super::plan::{Observed, Plan, Step, plan};

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
    pub told: bool,
    /// Whether it has its places.
    pub standing: Standing,
    /// Whether it is told for the first time that there is no place for it.
    pub newly_unplaced: bool,
    /// What was there before the namespace was guarded, and has to be removed before its gate opens.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether nothing is waited for.
    pub fn is_settled(&self) -> bool {
        self.left.is_complete()
            && self.violations.is_empty()
            && !matches!(self.standing, Standing::Waits(_) | Standing::Uncounted)
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
pub trait Patience: Sync {
    /// Whether nothing is created yet in a namespace that the platform is building, where so many objects are missing.
    fn lets_the_platform_go_first(&self, uid: &str, missing: usize) -> bool;

    /// Whether a step is to wait: somebody may have undone it on purpose.
    fn puts_off(&self, uid: &str, step: &Step) -> bool;
}

/// Puts nothing off.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce;

impl Patience for AtOnce {
    fn lets_the_platform_go_first(&self, _: &str, _: usize) -> bool {
        false
    }

    fn puts_off(&self, _: &str, _: &Step) -> bool {
        false
    }
}

/// An annotation, if it is there.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
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

/// Whether the platform is building a namespace: it asked for it, and its baseline was never complete.
pub fn is_being_built(policy: &RunPolicy, meta: &ObjectMeta) -> bool {
    let managers = &policy.identities.managers;
    annotation(meta, keys::BASELINE_HASH).is_none()
        && annotation(meta, keys::REQUESTED_BY).is_some_and(|user| managers.contains(user, []))
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
    inspector: &Inspector,
    patience: &impl Patience,
) -> kube::Result<Report> {
    let look = Look::new(cluster, policy, meta);
    let mut observed = look.observe().await?;
    let mut left = plan(&look.wanted, &observed);
    let mut report = Report {
        namespace: look.name.to_owned(),
        uid: look.uid.to_owned(),
        was_complete: look.was_complete,
        ..Report::default()
    };
    let mut said = annotation(meta, keys::BASELINE_WAITS_FOR).map(str::to_owned);
    if !left.is_complete() && look.is_open {
        // It may be missing because the namespace ends, which its watch has not told yet.
        let now = cluster.namespace(look.name).await?;
        if now.is_none_or(|now| now.uid != meta.uid || now.deletion_timestamp.is_some()) {
            return Ok(report);
        }
        gate::close(cluster, meta, &words(&left)).await?;
        said = Some(words(&left));
        (report.gate, report.told) = (Gate::Closed, true);
    }
    let early =
        is_being_built(policy, meta) && patience.lets_the_platform_go_first(look.uid, left.creations());
    for step in std::mem::take(&mut left.steps) {
        let waits = early && matches!(step, Step::Create(_));
        if !waits && !patience.puts_off(look.uid, &step) {
            carry_out(cluster, look.name, &step, &mut observed).await?;
            report.done.push(step);
        }
    }
    // What was written may have been changed on its way in: only what is stored counts.
    left = plan(&look.wanted, &observed);
    if left.is_complete() && look.was_never_open() {
        report.violations = inspector.inspect(policy, meta, &look.wanted).await?;
    }
    if left.is_complete() && report.violations.is_empty() {
        look.stand(places, &mut report).await?;
    } else {
        places.step_aside(meta);
    }
    if !report.violations.is_empty() && said.as_deref() != Some(&*reason(&report.violations)) {
        gate::close(cluster, meta, &reason(&report.violations)).await?;
        report.told = true;
    }
    let lasts = !left.foreign.is_empty() || !(left.steps.is_empty() || early);
    if lasts && said != Some(words(&left)) {
        gate::close(cluster, meta, &words(&left)).await?;
        report.told = true;
    }
    report.left = left;
    Ok(report)
}

/// A namespace as it is looked at.
struct Look<'a> {
    cluster: &'a Cluster,
    policy: &'a RunPolicy,
    meta: &'a ObjectMeta,
    name: &'a str,
    uid: &'a str,
    wanted: Vec<Desired>,
    hash: String,
    is_open: bool,
    was_complete: bool,
}

impl<'a> Look<'a> {
    fn new(cluster: &'a Cluster, policy: &'a RunPolicy, meta: &'a ObjectMeta) -> Self {
        let wanted = wanted(policy, meta);
        let hash = baseline::hash(&wanted);
        Self {
            cluster,
            policy,
            meta,
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            is_open: annotation(meta, keys::BASELINE_READY_AT).is_some(),
            was_complete: annotation(meta, keys::BASELINE_HASH) == Some(&hash),
            wanted,
            hash,
        }
    }

    /// Whether the gate has never been open: only the reconciler writes the hash, and nothing removes it.
    fn was_never_open(&self) -> bool {
        annotation(self.meta, keys::BASELINE_HASH).is_none()
    }

    /// What is left over of another baseline is looked for only before this one is called complete: afterwards there
    /// is none, and before that something else is to be done first.
    async fn observe(&self) -> kube::Result<Observed> {
        let mut observed = self.cluster.observe(self.name, &self.wanted).await?;
        let nothing_is_missing = observed.len() == self.wanted.len();
        if !self.was_complete && (nothing_is_missing || self.cluster.is_dry_run()) {
            let mut labelled = self.cluster.everything_labelled(self.name).await?;
            labelled.append(&mut observed);
            observed = labelled;
        }
        Ok(observed)
    }

    /// Opens the gate of a complete namespace once it has its places, or says that there is none.
    async fn stand(&self, places: &Places, report: &mut Report) -> kube::Result<()> {
        report.standing = places.stand(&self.policy.quotas, self.meta).await?;
        let was_open = self.is_open && self.was_complete && report.gate != Gate::Closed;
        match &report.standing {
            Standing::Placed if !was_open || is_unplaced(self.meta) => {
                let opened = gate::open(self.cluster, self.policy, self.meta, &self.hash).await;
                if !matches!(opened, Ok(true)) {
                    // It may be gone, and nobody else has seen yet what it was just given.
                    places.release(self.name, self.uid).await?;
                }
                if opened? {
                    report.gate = Gate::Opened;
                }
            }
            Standing::Waits(waits) => {
                report.newly_unplaced = gate::wait(self.cluster, self.policy, self.meta, waits).await?;
            }
            Standing::Placed | Standing::Uncounted | Standing::Unasked => {}
        }
        Ok(())
    }
}

/// What a namespace waits for, as its annotation says it.
fn words(plan: &Plan) -> String {
    plan.missing().join(", ").chars().take(1000).collect()
}

/// Takes a step, and its result into what was observed.
async fn carry_out(
    cluster: &Cluster,
    namespace: &str,
    step: &Step,
    observed: &mut Observed,
) -> kube::Result<()> {
    let (wanted, stored) = match step {
        Step::Create(wanted) | Step::Heal(wanted, _) => (wanted, cluster.apply(namespace, wanted).await?),
        Step::Replace(wanted, drift) => {
            cluster.delete(namespace, wanted.kind, &wanted.name, drift.uid.clone()).await?;
            // With a dry run the old one is still there, and would refuse.
            let stored = if cluster.is_dry_run() {
                wanted.object.clone()
            } else {
                cluster.apply(namespace, wanted).await?
            };
            (wanted, stored)
        }
        Step::Remove(kind, name, uid) => {
            cluster.delete(namespace, *kind, name, uid.clone()).await?;
            observed.remove(&(*kind, name.clone()));
            return Ok(());
        }
    };
    observed.insert(wanted.key(), stored);
    Ok(())
}
