//! Rules about workloads in managed namespaces: Jobs, `CronJobs`, Pods and Pod templates.
//!
//! Fewer rules apply to the objects that a controller creates from a template. The template was validated when it was
//! written, for the user who wrote it, and a namespace that has since been rebound to another run may still have Pods
//! of the previous one.

mod bounds;
mod environment;
mod examples;
mod gate;
mod host;
mod identity;
mod quota;
mod reservation;
mod resources;
mod scheduling;
mod service_account;
mod size;
mod status;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use codex_k8s_shared::{keys, names};
use serde_json::Value;

pub use environment::RUN_VARIABLES;
pub use host::APP_ARMOR;

use super::catalogue::{Check, Rule};
use super::guard::KUBELETS;
use super::object::{at, items};
use super::{
    Edits, Entry, Facts, Finding, Kind, ManagedNamespace, Meta, Operation, Report, Request, Requester, Role,
    Verdict,
};

/// The context of the rules about a workload.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The managed namespace that contains the workload.
    pub namespace: &'a ManagedNamespace,
    /// The workload's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// True if a controller of the cluster creates it from a template.
    pub generated: bool,
    /// The role of the requester.
    pub role: Role,
    /// True if the requester is a kubelet.
    pub by_kubelet: bool,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
}

impl Context<'_> {
    /// Returns true if the namespace is a slot.
    pub fn is_in_slot(&self) -> bool {
        self.policy.namespaces.is_slot(&self.namespace.name)
    }
}

/// A workload object.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// Its kind.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta<'a>,
}

/// A validation of the state. On an update, the old object is validated too, so that only new violations are reported.
pub type Validate = fn(&Context<'_>, &Workload<'_>, &mut Report);

/// Adds missing values when the workload is created.
pub type Mutate = fn(&Context<'_>, &Workload<'_>, &mut Edits<'_>);

/// Returns true if a rule about a change applies to it. The old object is `None` at creation.
pub type AppliesToTransition = fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>) -> bool;

/// A validation of a change. The old object is `None` at creation.
pub type ValidateTransition = fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>, &mut Report);

/// Sets values when a workload is created or changed.
pub type MutateTransition = fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>, &mut Edits<'_>);

/// The keys from an object to a part of it.
pub type Path = &'static [&'static str];

impl<'a> Workload<'a> {
    /// Wraps an object of a kind.
    pub fn of(kind: Kind, object: &'a Value) -> Self {
        Self { object, kind, meta: Meta::of(object) }
    }

    /// Returns the path of the Pod template. A Pod is its own template.
    pub const fn template_path(&self) -> Path {
        match self.kind {
            Kind::CronJob => &["spec", "jobTemplate", "spec", "template"],
            Kind::Revision => &["data", "spec", "template"],
            Kind::Job | Kind::Template => &["spec", "template"],
            _ => &[],
        }
    }

    /// Returns the path of the Job's spec, for Jobs and `CronJobs`.
    pub const fn job_path(&self) -> Option<Path> {
        match self.kind {
            Kind::Job => Some(&["spec"]),
            Kind::CronJob => Some(&["spec", "jobTemplate", "spec"]),
            _ => None,
        }
    }

    /// Returns every path that has metadata, from the object to the Pod template.
    pub const fn holders(&self) -> &'static [Path] {
        match self.kind {
            Kind::CronJob => &[&[], &["spec", "jobTemplate"], &["spec", "jobTemplate", "spec", "template"]],
            Kind::Revision => &[&[], &["data", "spec", "template"]],
            Kind::Job | Kind::Template => &[&[], &["spec", "template"]],
            _ => &[&[]],
        }
    }

    /// Returns the metadata at a path.
    pub fn meta_at(&self, holder: Path) -> Meta<'a> {
        at(self.object, holder).map_or(Meta::none(), Meta::of)
    }

    /// Returns the Pod's spec.
    pub fn pod_spec(&self) -> Option<&'a Value> {
        at(self.object, self.template_path()).and_then(|template| at(template, &["spec"]))
    }

    /// Returns the path of a field of the Pod's spec in the object.
    pub fn pod_field(&self, field: &str) -> String {
        format!("{}spec.{field}", dotted(self.template_path()))
    }

    /// Returns all containers: those of the Pod, the init containers, and the ephemeral containers.
    pub fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.pod_spec();
        ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(move |list| {
            items(spec.and_then(|spec| spec.get(list))).enumerate().map(move |(index, container)| Container {
                value: container,
                list,
                index,
            })
        })
    }

    /// Returns true if the workload may be the run's own. A Deployment or similar object only manages Pods that the run
    /// started.
    pub const fn is_the_runs(&self) -> bool {
        matches!(self.kind, Kind::Job | Kind::CronJob | Kind::Pod)
    }

    /// Returns true if its containers run the same programs as those of `old`, from the same volumes. Fields that only
    /// limit them may differ.
    fn runs_the_same_as(&self, old: &Self) -> bool {
        const LIMITS: [&str; 3] = ["securityContext", "ports", "resources"];
        let program = |container: Container<'a>| {
            let fields = container.value.as_object().into_iter().flatten();
            let others: Vec<_> = fields.filter(|(key, _)| !LIMITS.contains(&key.as_str())).collect();
            (container.list, others)
        };
        let volumes = |of: &Self| of.pod_spec().and_then(|spec| at(spec, &["volumes"]));
        self.containers().map(program).eq(old.containers().map(program)) && volumes(self) == volumes(old)
    }

    /// Returns true if it claims to be the workload of a run: by its name or by its application label.
    pub fn is_of_a_run(&self, name: &str) -> bool {
        name.starts_with(names::JOB_PREFIX)
            || self.meta.label(keys::RUN_ID).is_some()
            || self
                .holders()
                .iter()
                .any(|holder| self.meta_at(holder).label(keys::APP_NAME) == Some(keys::APP_NAME_RUN))
    }
}

/// A container and its position.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// The container.
    pub value: &'a Value,
    /// The list that contains it.
    pub list: &'static str,
    /// Its index in the list.
    pub index: usize,
}

impl Container<'_> {
    /// Returns the path of a field of the container in the object.
    pub fn field(&self, workload: &Workload<'_>, field: &str) -> String {
        workload.pod_field(&format!("{}[{}].{field}", self.list, self.index))
    }
}

/// Returns the text of a path, ready for a field to follow: `spec.template.`.
pub fn dotted(path: Path) -> String {
    path.iter().flat_map(|key| [key, "."]).collect()
}

/// Returns the rules about workloads in the order of their ids.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        identity::RULES,
        service_account::RULES,
        bounds::RULES,
        scheduling::RULES,
        host::RULES,
        environment::RULES,
        resources::RULES,
        quota::RULES,
        reservation::RULES,
        gate::RULES,
        size::RULES,
        status::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Evaluates a request about a workload.
pub fn decide(
    policy: &RunPolicy,
    facts: &Facts,
    request: &Request<'_>,
    requester: &Requester<'_>,
    entry: Entry,
) -> Verdict {
    let (Some(namespace), Some(object)) = (facts.namespace.as_deref(), request.object.as_ref()) else {
        return Verdict::default();
    };
    let workload = Workload::of(request.kind, object);
    let name = match request.name {
        "" => workload.meta.text("name").unwrap_or_default(),
        name => name,
    };
    let generated = requester.is_cluster_controller(policy);
    let by_kubelet = request.groups.contains(&KUBELETS);
    let subresource = request.subresource;
    let context =
        Context { policy, namespace, name, generated, role: requester.role, by_kubelet, subresource };
    let old = request.old_object.as_ref().map(|old| Workload::of(request.kind, old));
    // A namespace that is being deleted is in scope too: an update may keep existing violations, so it cannot get
    // stuck.
    let scope = scope(&context, &workload, request.operation);
    let passes = |rule: &&Rule| match rule.check {
        Check::Transition { applies, .. } => applies(&context, old.as_ref(), &workload),
        _ => {
            scope == Scope::All || (scope == Scope::Gate && gate::RULES.iter().any(|gate| gate.id == rule.id))
        }
    };
    let rules: Vec<_> =
        rules().filter(|rule| super::mode(policy, rule) != Mode::Off).filter(passes).collect();
    if rules.is_empty() {
        return Verdict::default();
    }
    let mut verdict = Verdict { in_scope: true, ..Verdict::default() };
    // If the object is too large, only that is reported, and no time is spent on other rules.
    let too_large: Vec<_> =
        rules.iter().copied().filter(|rule| size::RULES.iter().any(|size| size.id == rule.id)).collect();
    let findings = validate(&context, &too_large, old.as_ref(), &workload);
    if findings.iter().any(|finding| finding.mode == Mode::Enforce) {
        verdict.evaluated = too_large;
        if entry == Entry::Validate {
            verdict.findings = findings;
        }
        return verdict;
    }
    match entry {
        Entry::Mutate => {
            (verdict.patch, verdict.evaluated) = mutate(&context, &rules, old.as_ref(), &workload);
        }
        Entry::Validate => {
            verdict.findings = validate(&context, &rules, old.as_ref(), &workload);
            verdict.evaluated = rules;
        }
    }
    verdict
}

/// The state rules that apply to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All rules.
    All,
    /// Only the gate.
    Gate,
    /// No rules.
    None,
}

/// Returns the rules that apply. The platform's own stack in a slot is exempt, and so are status updates of controllers
/// and the objects that they create for that stack. The gate still applies to these: otherwise Pods could start before
/// the quota of the slot is counted.
fn scope(context: &Context<'_>, workload: &Workload<'_>, operation: Operation) -> Scope {
    if context.generated && operation == Operation::Update {
        return Scope::None;
    }
    match context.is_in_slot() {
        true if context.generated => Scope::Gate,
        true if context.role == Role::Manager && !workload.is_of_a_run(context.name) => Scope::None,
        _ => Scope::All,
    }
}

/// Returns true if a rule is about what a Pod may do beyond its namespace. Such a permission was granted to the program
/// that runs there: a user who replaces the program does not inherit it.
#[must_use]
pub fn is_privilege(rule: &Rule) -> bool {
    service_account::RULES.iter().chain(host::RULES).any(|privilege| privilege.id == rule.id)
}

fn mutate(
    context: &Context<'_>,
    rules: &[&'static Rule],
    old: Option<&Workload<'_>>,
    new: &Workload<'_>,
) -> (json_patch::Patch, Vec<&'static Rule>) {
    let mut edits = Edits::new(new.object);
    let mut evaluated = Vec::new();
    for rule in rules {
        match rule.check {
            Check::Workload { mutate: Some(mutate), .. } if old.is_none() => mutate(context, new, &mut edits),
            Check::Transition { mutate: Some(mutate), .. } => mutate(context, old, new, &mut edits),
            _ => continue,
        }
        evaluated.push(*rule);
    }
    (edits.finish(), evaluated)
}

fn validate(
    context: &Context<'_>,
    rules: &[&'static Rule],
    old: Option<&Workload<'_>>,
    new: &Workload<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules {
        let mode = super::mode(context.policy, rule);
        let mut report = Report::new(rule, mode);
        match rule.check {
            Check::Workload { validate, .. } => {
                validate(context, new, &mut report);
                let inherited = old.filter(|old| !is_privilege(rule) || new.runs_the_same_as(old));
                if let Some(old) = inherited.filter(|_| !report.is_empty()) {
                    let mut before = Report::new(rule, mode);
                    validate(context, old, &mut before);
                    report.retain_what_is_new(&before);
                }
            }
            Check::Transition { validate, .. } => validate(context, old, new, &mut report),
            _ => continue,
        }
        findings.extend(report.into_findings());
    }
    findings
}
