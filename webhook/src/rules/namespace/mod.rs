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
mod security;
#[cfg(test)]
mod tests;

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

pub use quota::{Holders, Occupancy};

use super::catalogue::{Check, Rule};
use super::report::Report;
use super::{Edits, Entry, Facts, Finding, Meta, Operation, Request, Requester, Role, Verdict};

/// The context of the rules about a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The facts.
    pub facts: &'a Facts,
    /// The requester.
    pub requester: &'a Requester<'a>,
    /// The namespace's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// True if an existing namespace becomes managed. It is validated like a new one, because any user may have
    /// prepared it.
    pub becomes_managed: bool,
}

impl Context<'_> {
    /// Returns true if the name is that of a slot.
    pub fn is_slot(&self) -> bool {
        self.policy.namespaces.is_slot(self.name)
    }

    /// Returns true if the name has a reserved prefix.
    pub fn is_reserved(&self) -> bool {
        codex_k8s_shared::names::reserved_prefix(self.name, &self.policy.namespaces.prefixes).is_some()
    }
}

/// A Namespace object.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// Its metadata.
    pub meta: Meta<'a>,
}

impl<'a> Namespace<'a> {
    /// Wraps a Namespace object.
    pub fn of(object: &'a Value) -> Self {
        Self { object, meta: Meta::of(object) }
    }

    /// Returns true if it has the label that makes it managed.
    pub fn is_managed(&self) -> bool {
        self.meta.label(keys::MANAGED_BY).is_some()
    }

    /// Returns true if it has any label of the contract. Other labels of the domain have no effect on a namespace.
    pub fn has_contract_label(&self) -> bool {
        keys::known_labels().any(|key| self.meta.label(key).is_some())
    }
}

/// A validation of a rule.
#[derive(Debug)]
pub enum Validate {
    /// The state of a managed namespace, at creation and after every update that changes it.
    State(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
    /// The state at creation.
    Creation(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
    /// The change of an update: the old namespace, then the new one.
    Change(fn(&Context<'_>, &Namespace<'_>, &Namespace<'_>, &mut Report)),
    /// The deletion.
    Deletion(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
}

/// Adds missing values.
pub type Mutate = fn(&Context<'_>, &Namespace<'_>, &mut Edits<'_>);

/// Returns the rules about namespaces in the order of their ids.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        identity::RULES,
        adoption::RULES,
        metadata::RULES,
        security::RULES,
        deletion::RULES,
        creation::RULES,
        privileges::RULES,
        claims::RULES,
        lease::RULES,
        hold::RULES,
        quota::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Evaluates a request about a namespace.
pub fn decide(
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
            verdict.patch = mutate(&context, old.as_ref(), new, &mut verdict.evaluated);
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

fn mutate(
    context: &Context<'_>,
    old: Option<&Namespace<'_>>,
    new: &Namespace<'_>,
    evaluated: &mut Vec<&'static Rule>,
) -> json_patch::Patch {
    // An update is mutated only if a manager labels a slot that was created without labels. Other updates are stored as
    // written.
    let becomes_managed = context.becomes_managed && context.is_slot() && context.requester.is_manager();
    let created = old.is_none() && !creates_bare_slot(context, old, Some(new));
    let mut edits = Edits::new(new.object);
    if created || becomes_managed {
        for rule in rules() {
            if let Check::Namespace { mutate: Some(mutate), .. } = rule.check
                && super::mode(context.policy, rule) != Mode::Off
            {
                evaluated.push(rule);
                mutate(context, new, &mut edits);
            }
        }
    }
    edits.finish()
}

/// If a namespace may not become managed at all, only that is reported, and not what else it lacks.
fn validate(
    context: &Context<'_>,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
    evaluated: &mut Vec<&'static Rule>,
) -> Vec<Finding> {
    let first = || adoption::RULES.iter().chain(creation::RULES);
    let barred = findings(context, first(), old, new, evaluated);
    let is_barred =
        barred.iter().any(|finding| finding.mode == Mode::Enforce) && !old.is_some_and(Namespace::is_managed);
    if is_barred || creates_bare_slot(context, old, new) {
        return barred;
    }
    let others = rules().filter(|rule| !first().any(|first| first.id == rule.id));
    let mut all = findings(context, others, old, new, evaluated);
    all.extend(barred);
    all
}

fn findings(
    context: &Context<'_>,
    rules: impl Iterator<Item = &'static Rule>,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
    evaluated: &mut Vec<&'static Rule>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules {
        let mode = super::mode(context.policy, rule);
        let Check::Namespace { validate, .. } = &rule.check else { continue };
        if mode == Mode::Off {
            continue;
        }
        let mut report = Report::new(rule, mode);
        let mut is_evaluated = false;
        for validate in *validate {
            is_evaluated |= run(context, validate, old, new, rule, mode, &mut report);
        }
        evaluated.extend(is_evaluated.then_some(rule));
        findings.extend(report.into_findings());
    }
    findings
}

/// Runs one validation of a rule if it applies to the request. Returns true if it applies.
fn run(
    context: &Context<'_>,
    validate: &Validate,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
    rule: &'static Rule,
    mode: Mode,
    report: &mut Report,
) -> bool {
    match (validate, old, new) {
        (Validate::State(validate), None, Some(new)) => validate(context, new, report),
        // If labels were removed, only the rule about leaving management reports it, not each rule about its labels.
        (Validate::State(validate), Some(old), Some(new)) if new.has_contract_label() => {
            let mut after = Report::new(rule, mode);
            validate(context, new, &mut after);
            // The state before the namespace became managed has never been validated, so violations in it are new.
            if !after.is_empty() && !context.becomes_managed {
                let mut before = Report::new(rule, mode);
                validate(context, old, &mut before);
                after.retain_what_is_new(&before);
            }
            report.append(after);
        }
        (Validate::Creation(validate), None, Some(new)) => validate(context, new, report),
        (Validate::Change(validate), Some(old), Some(new)) => validate(context, old, new, report),
        (Validate::Deletion(validate), Some(old), None) => validate(context, old, report),
        _ => return false,
    }
    true
}
