//! Rules about run namespaces.
//!
//! A namespace is **managed** if it has the label `codex-k8s.dev/managed-by`. It **claims** to be a run namespace if it
//! has any label of the contract, or a name with a reserved prefix. A namespace with the name of a run is created as a
//! managed one; with any other name, such a label is not allowed. A namespace that was created without either can never
//! become managed, unless it is a slot.

mod adoption;
mod claims;
mod creation;
mod defaults;
mod deletion;
mod examples;
mod hold;
mod identity;
mod lease;
mod metadata;
mod privileges;
mod quota;
mod restore;
mod security;
mod subject;
#[cfg(test)]
mod tests;

use codex_k8s_shared::policy::{Mode, RunPolicy};

pub(crate) use subject::{Check, Context, Namespace, Validate};

use super::evaluate;
use super::report::Report;
use super::{Entry, Facts, Finding, Operation, Request, Requester, Role, Rule, Verdict};

/// Returns the rules about namespaces in the order of their ids.
pub(crate) fn checks() -> impl Iterator<Item = &'static Check> {
    [
        identity::CHECKS,
        adoption::CHECKS,
        metadata::CHECKS,
        security::CHECKS,
        deletion::CHECKS,
        creation::CHECKS,
        privileges::CHECKS,
        claims::CHECKS,
        lease::CHECKS,
        hold::CHECKS,
        quota::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Evaluates a request about a namespace.
pub(crate) fn decide(
    policy: &RunPolicy,
    facts: &Facts,
    request: &Request<'_>,
    requester: &Requester<'_>,
    entry: Entry,
) -> Verdict {
    let old = request.old_object.as_ref().map(Namespace::of);
    let new = request.object.as_ref().map(Namespace::of);
    let name = match request.name {
        "" => new.or(old).and_then(|namespace| namespace.meta.text("name")).unwrap_or_default(),
        name => name,
    };
    let becomes_managed =
        matches!((&old, &new), (Some(old), Some(new)) if !old.is_managed() && new.is_managed());
    let context = Context { policy, facts, requester, name, becomes_managed };
    if !is_in_scope(&context, old.as_ref(), new.as_ref()) {
        return Verdict::out_of_scope();
    }
    let mut verdict = Verdict { in_scope: true, ..Verdict::default() };
    let leaving = old.is_some_and(|old| old.meta.is_terminating());
    if leaving && (requester.role == Role::NamespaceController || request.operation == Operation::Delete) {
        return verdict;
    }
    match (entry, new.as_ref()) {
        (Entry::Mutate, Some(new)) if request.subresource.is_none() && !leaving => {
            mutate(&context, old.as_ref(), new, &mut verdict);
        }
        (Entry::Mutate, _) => {}
        (Entry::Validate, _) => {
            verdict.findings = validate(&context, old.as_ref(), new.as_ref(), &mut verdict.evaluated);
        }
    }
    verdict
}

/// Returns true if a slot is created without labels: it is not managed until a manager labels it.
fn creates_bare_slot(
    context: &Context<'_>,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
) -> bool {
    old.is_none() && context.is_slot() && new.is_some_and(|new| !new.has_contract_label())
}

/// Returns true if the namespace is managed before or after the request, claims to be a run namespace, or gets labels
/// of the contract.
fn is_in_scope(context: &Context<'_>, old: Option<&Namespace<'_>>, new: Option<&Namespace<'_>>) -> bool {
    let labelled = |namespace: Option<&Namespace<'_>>| namespace.is_some_and(Namespace::has_contract_label);
    match (old, new) {
        (None, Some(new)) => {
            new.has_contract_label()
                || context.is_reserved()
                || context.is_slot()
                || claims_by_generated_name(context, new)
        }
        (Some(old), None) => old.is_managed(),
        (old, new) => labelled(old) || labelled(new),
    }
}

/// Returns true for a `generateName` such as `codex-issue-`: the name will have a reserved prefix, but the mutating
/// call does not contain it yet.
fn claims_by_generated_name(context: &Context<'_>, new: &Namespace<'_>) -> bool {
    let Some(stem) = new.meta.text("generateName").filter(|_| context.name.is_empty()) else {
        return false;
    };
    let probe = format!("{stem}x");
    codex_k8s_shared::names::reserved_prefix(&probe, &context.policy.namespaces.prefixes).is_some()
}

fn mutate(context: &Context<'_>, old: Option<&Namespace<'_>>, new: &Namespace<'_>, verdict: &mut Verdict) {
    if let Some(old) = old.filter(|old| old.is_managed()) {
        return restore::restore(context, checks(), old, new, verdict);
    }
    // Nothing is added to an existing namespace unless a manager labels a slot that was created without labels.
    let becomes_managed = context.becomes_managed && context.is_slot() && context.requester.is_manager();
    let created = old.is_none() && !creates_bare_slot(context, old, Some(new));
    let checks = checks().filter(|_| created || becomes_managed);
    evaluate::mutate(context.policy, checks, new.object, verdict, |check, edits| {
        let Some(mutate) = check.mutate else { return false };
        mutate(context, new, edits);
        true
    });
}

/// If a namespace may not become managed at all, only that is reported, and not what else it lacks.
fn validate(
    context: &Context<'_>,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
    evaluated: &mut Vec<&'static Rule>,
) -> Vec<Finding> {
    let mut run_all = |decide_alone: bool| {
        let checks = checks().filter(|check| check.decides_alone == decide_alone);
        evaluate::validate(context.policy, checks, evaluated, |check, report| {
            // Every validation runs, also after one that applies.
            let mut applies = false;
            for validate in check.validate {
                applies |= run(context, validate, old, new, report);
            }
            applies
        })
    };
    let barred = run_all(true);
    let is_barred =
        barred.iter().any(|finding| finding.mode == Mode::Enforce) && !old.is_some_and(Namespace::is_managed);
    if is_barred || creates_bare_slot(context, old, new) {
        return barred;
    }
    let mut all = run_all(false);
    all.extend(barred);
    all
}

/// Runs one validation of a rule if it applies to the request. Returns true if it applies.
fn run(
    context: &Context<'_>,
    validate: &Validate,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
    report: &mut Report,
) -> bool {
    match (validate, old, new) {
        (Validate::State(validate), None, Some(new)) => validate(context, new, report),
        // If labels were removed, only the rule about leaving management reports it, not each rule about its labels.
        (Validate::State(validate), Some(old), Some(new)) if new.has_contract_label() => {
            // The state before the namespace became managed has never been validated, so violations in it are new.
            let before = (!context.becomes_managed).then_some(old);
            evaluate::validate_state(before, new, report, |state, report| validate(context, state, report));
        }
        (Validate::Creation(validate), None, Some(new)) => validate(context, new, report),
        (Validate::Change(validate), Some(old), Some(new)) => validate(context, old, new, report),
        (Validate::Deletion(validate), Some(old), None) => validate(context, old, report),
        _ => return false,
    }
    true
}
