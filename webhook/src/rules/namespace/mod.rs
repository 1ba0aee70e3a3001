//! Rules about run namespaces.
//!
//! A namespace is **managed** when it carries the label `codex-k8s.dev/managed-by`. It **claims** to be a run
//! namespace when it carries any label of the contract, or a name under a reserved prefix. A namespace of a run's name
//! is created as a managed one; with any other name, such a label is not allowed. A namespace that was created without
//! either can never become managed, unless it is a slot.

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

/// What every rule about a namespace can see.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The facts.
    pub facts: &'a Facts,
    /// Who asks.
    pub requester: &'a Requester<'a>,
    /// The namespace's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// Whether a namespace that exists becomes managed: a second birth, of what others may have prepared.
    pub becomes_managed: bool,
}

impl Context<'_> {
    /// Whether the name is that of a slot.
    pub fn is_slot(&self) -> bool {
        self.policy.namespaces.is_slot(self.name)
    }

    /// Whether the name lies under a reserved prefix.
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
    /// The namespace that an object describes.
    pub fn of(object: &'a Value) -> Self {
        Self { object, meta: Meta::of(object) }
    }

    /// Whether it carries the label that makes it managed.
    pub fn is_managed(&self) -> bool {
        self.meta.label(keys::MANAGED_BY).is_some()
    }

    /// Whether it carries any label of the contract. Others of the domain have no effect on a namespace.
    pub fn has_contract_label(&self) -> bool {
        keys::known_labels().any(|key| self.meta.label(key).is_some())
    }
}

/// What a rule evaluates.
#[derive(Debug)]
pub enum Validate {
    /// What a managed namespace looks like, at birth and after every update that makes it look otherwise.
    State(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
    /// What it looks like at birth.
    Creation(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
    /// What an update changes: the old namespace, then the new one.
    Change(fn(&Context<'_>, &Namespace<'_>, &Namespace<'_>, &mut Report)),
    /// That it is deleted.
    Deletion(fn(&Context<'_>, &Namespace<'_>, &mut Report)),
}

/// What a rule adds where it is missing.
pub type Mutate = fn(&Context<'_>, &Namespace<'_>, &mut Edits<'_>);

/// The rules about namespaces, in the order of their ids.
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

/// Decides a request about a namespace.
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

/// Whether a slot is created without labels: it is not managed until a manager labels it.
fn creates_bare_slot(
    context: &Context<'_>,
    old: Option<&Namespace<'_>>,
    new: Option<&Namespace<'_>>,
) -> bool {
    old.is_none() && context.is_slot() && new.is_some_and(|new| !new.has_contract_label())
}

/// Managed before or after, claiming to be, or about to carry labels that nobody else may use.
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

/// `generateName: codex-issue-` will be a reserved name, which the mutating call cannot see yet.
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
    // An update is fixed only where a manager labels a slot that was born bare; all else is the writer's own.
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

/// What may not become managed at all is told so, and nothing of what else it would lack.
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

/// Asks one evaluate of a rule, if what it evaluates has happened, and returns whether it has.
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
        // What left management is for the rule about stripping to evaluate, not for each rule about its labels.
        (Validate::State(validate), Some(old), Some(new)) if new.has_contract_label() => {
            let mut after = Report::new(rule, mode);
            validate(context, new, &mut after);
            // What was put there before the namespace was managed, nobody has evaluated.
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
