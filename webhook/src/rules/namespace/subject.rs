//! Namespaces as the rules see them, and the form of a rule about them.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use crate::rules::edits::Edits;
use crate::rules::evaluate::HasRule;
use crate::rules::report::Report;
use crate::rules::rule::Rule;
use crate::rules::{Facts, Meta, Requester};

/// The context of the rules about a namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
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
    pub(crate) fn is_slot(&self) -> bool {
        self.policy.namespaces.is_slot(self.name)
    }

    /// Returns true if the name has a reserved prefix.
    pub(crate) fn is_reserved(&self) -> bool {
        codex_k8s_shared::names::reserved_prefix(self.name, &self.policy.namespaces.prefixes).is_some()
    }
}

/// A Namespace object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Namespace<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// Its metadata.
    pub meta: Meta<'a>,
}

impl<'a> Namespace<'a> {
    /// Wraps a Namespace object.
    pub(crate) fn of(object: &'a Value) -> Self {
        Self { object, meta: Meta::of(object) }
    }

    /// Returns true if it has the label that makes it managed.
    pub(crate) fn is_managed(&self) -> bool {
        self.meta.label(keys::MANAGED_BY).is_some()
    }

    /// Returns true if it has any label of the contract. Other labels of the domain have no effect on a namespace.
    pub(crate) fn has_contract_label(&self) -> bool {
        keys::known_labels().any(|key| self.meta.label(key).is_some())
    }
}

/// A validation of a rule.
#[derive(Debug)]
pub(crate) enum Validate {
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
pub(crate) type Mutate = fn(&Context<'_>, &Namespace<'_>, &mut Edits<'_>);

/// A label or an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The label with this key.
    Label(&'static str),
    /// The annotation with this key.
    Annotation(&'static str),
}

/// Returns the labels and annotations that an update by this requester does not remove: the old namespace, then the new
/// one.
pub(crate) type Restore = fn(&Context<'_>, &Namespace<'_>, &Namespace<'_>) -> Vec<Key>;

/// A rule about namespaces with its functions.
#[derive(Debug)]
pub(crate) struct Check {
    /// The rule.
    pub rule: &'static Rule,
    /// The validations.
    pub validate: &'static [Validate],
    /// Adds missing values.
    pub mutate: Option<Mutate>,
    /// Returns what an update does not remove.
    pub restore: Option<Restore>,
    /// True if a namespace that violates the rule cannot become managed at all. Only that is reported then.
    pub decides_alone: bool,
}

impl Check {
    /// Creates a check that changes nothing and is reported together with the others.
    pub(crate) const fn new(rule: &'static Rule, validate: &'static [Validate]) -> Self {
        Self { rule, validate, mutate: None, restore: None, decides_alone: false }
    }

    /// Adds missing values with this function.
    #[must_use]
    pub(crate) const fn with_mutation(self, mutate: Mutate) -> Self {
        Self { mutate: Some(mutate), ..self }
    }

    /// Restores what this function returns if an update leaves it out.
    #[must_use]
    pub(crate) const fn restoring(self, restore: Restore) -> Self {
        Self { restore: Some(restore), ..self }
    }

    /// Reports only this rule about a namespace that violates it and is not managed yet.
    #[must_use]
    pub(crate) const fn deciding_alone(self) -> Self {
        Self { decides_alone: true, ..self }
    }
}

impl HasRule for Check {
    fn rule(&self) -> &'static Rule {
        self.rule
    }

    fn mutates(&self) -> bool {
        self.mutate.is_some() || self.restore.is_some()
    }
}
