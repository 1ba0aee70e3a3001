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
mod pod_security;
mod quota;
mod reservation;
mod resources;
mod retries;
mod scheduling;
mod service_account;
mod size;
mod status;
mod subject;
mod width;

use codex_k8s_shared::policy::{Mode, RunPolicy};

pub(crate) use subject::{Check, Context, Mutate, Validate, Workload};

use super::evaluate::{self, is_on};
use super::object::at;
use super::requester::KUBELETS;
use super::{Entry, Facts, Finding, Kind, Operation, Request, Requester, Role, Rule, Verdict};

/// Returns the rules about workloads in the order of their ids.
pub(crate) fn checks() -> impl Iterator<Item = &'static Check> {
    [
        identity::CHECKS,
        service_account::CHECKS,
        bounds::CHECKS,
        retries::CHECKS,
        width::CHECKS,
        scheduling::CHECKS,
        host::CHECKS,
        environment::CHECKS,
        resources::CHECKS,
        quota::CHECKS,
        reservation::CHECKS,
        gate::CHECKS,
        size::CHECKS,
        status::CHECKS,
        pod_security::BASELINE,
        pod_security::RESTRICTED,
    ]
    .into_iter()
    .flatten()
}

/// Evaluates a request about a workload.
pub(crate) fn decide(
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
    let pod_security = namespace.pod_security.limited_to(facts.kubernetes);
    let role = requester.role;
    let context = Context { policy, namespace, pod_security, name, generated, role, by_kubelet, subresource };
    let old = request.old_object.as_ref().map(|old| Workload::old(request.kind, old));
    // A namespace that is being deleted is in scope too: an update may keep existing violations, so it cannot get
    // stuck.
    let scope = scope(&context, &workload, request.operation);
    let applies = |check: &&Check| match check.validate {
        Validate::Transition { applies, .. } => applies(&context, old.as_ref(), &workload),
        Validate::State(_) => {
            scope == Scope::All || (scope == Scope::PlatformStack && check.applies_to_platform_stack)
        }
    };
    let checks: Vec<_> = checks().filter(|check| is_on(policy, check.rule)).filter(applies).collect();
    if checks.is_empty() {
        return Verdict::default();
    }
    let mut verdict = Verdict { in_scope: true, ..Verdict::default() };
    // If the object is too large, only that is reported, and no time is spent on other rules.
    let alone = checks.iter().copied().filter(|check| check.decides_alone);
    let findings = validate(&context, alone, old.as_ref(), &workload, &mut verdict.evaluated);
    if findings.iter().any(|finding| finding.mode == Mode::Enforce) {
        if entry == Entry::Validate {
            verdict.findings = findings;
        }
        return verdict;
    }
    verdict.evaluated.clear();
    match entry {
        Entry::Mutate => mutate(&context, &checks, old.as_ref(), &workload, &mut verdict),
        Entry::Validate => {
            let evaluated = &mut verdict.evaluated;
            let findings = validate(&context, checks, old.as_ref(), &workload, evaluated);
            verdict.findings = pod_security::without_repetition(findings);
        }
    }
    verdict
}

/// The state rules that apply to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All rules.
    All,
    /// Those that apply to the platform's own stack too.
    PlatformStack,
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
        true if context.generated => Scope::PlatformStack,
        true if context.role == Role::Manager && !workload.is_of_a_run(context.name) => Scope::None,
        _ => Scope::All,
    }
}

/// Returns true if a rule is about what a Pod may do beyond its namespace. Such a permission was granted to the program
/// that runs there: a user who replaces the program does not inherit it.
#[must_use]
pub(crate) fn is_privilege(rule: &Rule) -> bool {
    checks().any(|check| check.rule.id == rule.id && !check.inherited_violations_pass)
}

/// Returns true if an update may leave out what was added at creation: `kubectl replace` sends the whole object. A Pod's
/// template never changes.
fn is_whole(context: &Context<'_>, workload: &Workload<'_>) -> bool {
    context.subresource.is_none() && matches!(workload.kind, Kind::Job | Kind::CronJob | Kind::Template)
}

fn mutate(
    context: &Context<'_>,
    checks: &[&Check],
    old: Option<&Workload<'_>>,
    new: &Workload<'_>,
    verdict: &mut Verdict,
) {
    evaluate::mutate(context.policy, checks.iter().copied(), new.object, verdict, |check, edits| {
        match check.mutate {
            Some(Mutate::Creation(mutate)) if old.is_none() || is_whole(context, new) => {
                mutate(context, new, edits);
            }
            Some(Mutate::Transition(mutate)) => mutate(context, old, new, edits),
            _ => return false,
        }
        true
    });
    // The template of a Job never changes, so what its controller created without the defaults stays without them.
    let template = new.template_path();
    if new.kind == Kind::Job && old.is_some_and(|old| at(old.object, template) == at(new.object, template)) {
        verdict.patch.0.retain(|operation| !operation.path().as_str().starts_with("/spec/template"));
    }
}

fn validate<'c>(
    context: &Context<'_>,
    checks: impl IntoIterator<Item = &'c Check>,
    old: Option<&Workload<'_>>,
    new: &Workload<'_>,
    evaluated: &mut Vec<&'static Rule>,
) -> Vec<Finding> {
    evaluate::validate(context.policy, checks, evaluated, |check, report| {
        match check.validate {
            Validate::State(validate) => {
                let inherited =
                    old.filter(|old| check.inherited_violations_pass || new.runs_the_same_as(old));
                evaluate::validate_state(inherited, new, report, |state, report| {
                    validate(context, state, report);
                });
            }
            Validate::Transition { validate, .. } => validate(context, old, new, report),
        }
        true
    })
}
