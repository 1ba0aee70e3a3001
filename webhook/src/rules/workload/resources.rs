//! Default resources of containers, and the validity of the resources of a Pod.

use codex_k8s_shared::policy::{LimitSettings, Mode};
use codex_k8s_shared::quota::fit::{Field, fitting_defaults};
use codex_k8s_shared::quota::pod_resources::{PodResources, read_quantity};
use codex_k8s_shared::quota::quantity::Quantity;
use codex_k8s_shared::quota::validity::{Problem, problems};
use serde_json::Value;

use super::examples::resources as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, clean, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB023, Validate::State(|_, _, _| {})).with_mutation(Mutate::Transition(add_resources)),
    Check::new(&JOB026, Validate::State(resources_are_valid)),
];

static JOB023: Rule = Rule {
    id: "JOB023",
    title: "Default resources fit the other resources of a Pod",
    why: "A LimitRange gives every container the same default limit. A container that requests more, or a Pod whose own \
          limit is smaller, is invalid from then on: the Job is admitted, but none of its Pods. And kube-apiserver \
          applies a LimitRange before it calls the webhook: a Pod that is created while its namespace still waits for \
          its baseline would have no requests, and the quota would reject it.",
    remedy: "You do not need to do anything: a container that requests more than the default limit is limited to its \
             request, and the defaults of containers stay within the resources of their Pod.",
    subject: Subject::Workload,
    reads: &["baseline.*.limitRange.default", "baseline.*.limitRange.defaultRequest"],
    default_mode: Mode::Enforce,
    examples: examples::JOB023,
};

static JOB026: Rule = Rule {
    id: "JOB026",
    title: "The resources of a Pod are valid",
    why: "The API server validates a template only as it is written. It finds out that the Pods are invalid together \
          with their defaults when a controller creates the first one: the Job is admitted and never runs.",
    remedy: "Keep the requests of containers within the limits of their Pod, and leave overhead to the RuntimeClass. \
             Devices are whole numbers with equal request and limit.",
    subject: Subject::Workload,
    reads: &["baseline.*.limitRange.default", "baseline.*.limitRange.defaultRequest"],
    default_mode: Mode::Enforce,
    examples: examples::JOB026,
};

fn add_resources(
    context: &Context<'_>,
    old: Option<&Workload<'_>>,
    workload: &Workload<'_>,
    edits: &mut Edits<'_>,
) {
    let is_pod = workload.kind == Kind::Pod;
    // Controllers compare what they create with their template. Only a Pod may differ from it, once.
    let is_fixed = if is_pod { old.is_some() } else { context.generated || workload.kind == Kind::Revision };
    let (Some(range), Some(spec)) =
        (&context.baseline().limit_range, workload.pod_spec().filter(|_| !is_fixed))
    else {
        return;
    };
    let old_spec = old.and_then(Workload::pod_spec);
    if old_spec.is_some_and(|old| sets_the_same(old, spec)) || !(is_pod || sets_any(spec)) {
        return;
    }
    let added = if is_pod { added_by_limit_range(workload) } else { Vec::new() };
    let is_missing = |field: Field<'_>| {
        added.iter().any(|added| added.is(spec, field)) && find(spec, field) == default_of(range, field)
            || old_spec.is_some_and(|old| has_followed_its_request(old, spec, field))
    };
    for default in fitting_defaults(spec, range, is_missing) {
        for (field, quantity) in default.quantities().filter(|_| is_pod || default.differs) {
            if find(spec, field) != Some(quantity) {
                let index = field.index.to_string();
                let mut path = workload.template_path().to_vec();
                path.extend(["spec", field.list, &index, "resources", field.part, field.resource]);
                edits.set(&path, Value::from(quantity.to_string()));
            }
        }
    }
}

/// Returns the quantity of a field of a Pod's spec.
fn find(spec: &Value, Field { list, index, part, resource }: Field<'_>) -> Option<Quantity> {
    spec.get(list)?.get(index)?.get("resources")?.get(part)?.get(resource).and_then(read_quantity)
}

fn default_of(range: &LimitSettings, field: Field<'_>) -> Option<Quantity> {
    let default = || range.default.get(field.resource);
    let found = match field.part {
        "requests" => range.default_request.get(field.resource).or_else(default),
        _ => default(),
    };
    found?.parse().ok()
}

/// Returns true if any resources are set in a Pod's spec.
fn sets_any(spec: &Value) -> bool {
    let sets = |holder: &Value| {
        holder.get("resources").and_then(Value::as_object).is_some_and(|map| !map.is_empty())
    };
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| items(spec.get(list)));
    sets(spec) || containers.into_iter().any(sets)
}

/// Returns true if the containers of two Pods, and the Pods themselves, have the same resources.
fn sets_the_same(old: &Value, new: &Value) -> bool {
    let resources = |spec| {
        let containers =
            ["containers", "initContainers"].into_iter().flat_map(move |list| items(at(spec, &[list])));
        containers.map(|container| (container.get("name"), container.get("resources")))
    };
    old.get("resources") == new.get("resources") && resources(old).eq(resources(new))
}

/// Returns true for a limit that was equal to its request, and has stayed while the request was raised. It follows
/// the request, because it may be here only because of this rule.
fn has_followed_its_request(old: &Value, new: &Value, field: Field<'_>) -> bool {
    let name = new.get(field.list).and_then(|list| list.get(field.index)).and_then(|it| it.get("name"));
    let index = items(old.get(field.list)).position(|container| container.get("name") == name);
    let (Some(index), true) = (index, field.part == "limits") else { return false };
    let request = Field { part: "requests", ..field };
    let before = find(old, Field { index, ..field });
    before.is_some()
        && before == find(old, Field { index, ..request })
        && before == find(new, field)
        && find(new, request) > before
}

/// The resources that a LimitRange has added to a container, as its annotation lists them.
#[derive(Debug)]
struct Added<'a> {
    list: &'static str,
    name: &'a str,
    part: &'static str,
    resources: Vec<&'a str>,
}

impl Added<'_> {
    fn is(&self, spec: &Value, field: Field<'_>) -> bool {
        let name = || spec.get(field.list)?.get(field.index).and_then(|container| text(container, "name"));
        (self.list, self.part) == (field.list, field.part)
            && self.resources.contains(&field.resource)
            && name() == Some(self.name)
    }
}

/// The annotation in which the API server notes the defaults that a LimitRange has added to a Pod.
pub(crate) const LIMIT_RANGER: &str = "kubernetes.io/limit-ranger";

/// Reads that annotation of a Pod: `LimitRanger plugin set: cpu, memory request for container a; cpu limit for init
/// container b`.
fn added_by_limit_range<'a>(pod: &Workload<'a>) -> Vec<Added<'a>> {
    let notes = pod.meta.annotation(LIMIT_RANGER).unwrap_or_default();
    let notes = notes.strip_prefix("LimitRanger plugin set: ").unwrap_or_default();
    let read = |note: &'a str| {
        let (part, (resources, container)) = match note.split_once(" limit for ") {
            Some(of) => ("limits", of),
            None => ("requests", note.split_once(" request for ")?),
        };
        let (list, name) = match container.strip_prefix("init container ") {
            Some(name) => ("initContainers", name),
            None => ("containers", container.strip_prefix("container ")?),
        };
        Some(Added { list, name, part, resources: resources.split(", ").collect() })
    };
    notes.split("; ").filter_map(read).collect()
}

fn resources_are_valid(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec().filter(|_| !context.generated) else { return };
    quantities_are_readable(workload, spec, report);
    overhead_is_left_out(workload, spec, report);
    let range = context.baseline().limit_range.as_ref();
    if !sets_any(spec) && range.is_none_or(is_valid_alone) {
        return;
    }
    let mut found = problems(&PodResources::as_written(spec));
    for problem in problems(&PodResources::of_pod(spec, range)) {
        if found.iter().all(|written| written.path != problem.path) {
            found.push(problem);
        }
    }
    for Problem { path, found, remedy } in found {
        report.invalid(workload.pod_field(&path), quoted_or_nothing(found.as_deref()), remedy);
    }
}

/// Returns true if a container with only the defaults of a LimitRange is valid: the validation of the policy compares
/// requests with limits, and these resources have no further conditions.
fn is_valid_alone(range: &LimitSettings) -> bool {
    let is_plain = |resource: &String| matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage");
    range.default.keys().chain(range.default_request.keys()).all(is_plain)
}

/// Denies quantities that cannot be parsed. The API server does not get as far as to call the webhook with one.
fn quantities_are_readable(workload: &Workload<'_>, spec: &Value, report: &mut Report) {
    let containers = workload.containers().map(|container| (container.value, Some(container)));
    for (holder, container) in containers.chain([(spec, None)]) {
        for (part, name, value) in unreadable(holder) {
            let field = format!("resources.{part}[\"{}\"]", name.escape_debug());
            let path = match container {
                Some(container) => container.field(workload, &field),
                None => workload.pod_field(&field),
            };
            report.invalid(path, clean(&value.to_string()), "must be a quantity, such as 250m, 4 or 1Gi");
        }
    }
}

fn unreadable(holder: &Value) -> impl Iterator<Item = (&'static str, &String, &Value)> {
    ["requests", "limits"].into_iter().flat_map(|part| {
        let quantities = at(holder, &["resources", part]).and_then(Value::as_object).into_iter().flatten();
        let unreadable = quantities.filter(|(_, value)| read_quantity(value).is_none());
        unreadable.map(move |(name, value)| (part, name, value))
    })
}

/// Denies the overhead in a template, because the API server rejects every Pod whose overhead is not that of its
/// `RuntimeClass`.
fn overhead_is_left_out(workload: &Workload<'_>, spec: &Value, report: &mut Report) {
    let overhead =
        at(spec, &["overhead"]).filter(|overhead| overhead.as_object().is_none_or(|map| !map.is_empty()));
    let by_class = workload.kind == Kind::Pod && text(spec, "runtimeClassName").is_some();
    if let Some(overhead) = overhead.filter(|_| !by_class) {
        let remedy = "leave it out: the RuntimeClass of a Pod sets it";
        report.invalid(workload.pod_field("overhead"), clean(&overhead.to_string()), remedy);
    }
}
