//! Objects in a run namespace as the rules see them, and the form of a rule about them.

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use crate::rules::edits::Edits;
use crate::rules::evaluate::HasRule;
use crate::rules::report::Report;
use crate::rules::rule::Rule;
use crate::rules::{Facts, Kind, ManagedNamespace, Meta, Requester, Role};

/// The context of the rules about objects in a namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The facts.
    pub facts: &'a Facts,
    /// The requester.
    pub requester: &'a Requester<'a>,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// The groups of the requester.
    pub groups: &'a [&'a str],
    /// True if the request is for the status subresource.
    pub status: bool,
}

/// An object before and after: `None` before its creation and after its deletion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    /// The stored object.
    pub old: Option<&'a Value>,
    /// The object as it would be stored.
    pub new: Option<&'a Value>,
}

/// A validation. Each one compares the old object with the new one by itself, because the order of lists does not
/// matter here.
pub(crate) type Validate = fn(&Context<'_>, &Write<'_>, &mut Report);

/// Sets values in objects that a manager writes.
pub(crate) type Mutate = fn(&Context<'_>, &Write<'_>, &mut Edits<'_>);

impl<'a> Context<'a> {
    /// Returns the managed namespace that contains the object.
    pub(crate) fn namespace(&self) -> Option<&'a ManagedNamespace> {
        self.facts.namespace.as_deref()
    }

    /// Returns true if the object is in a slot.
    pub(crate) fn is_in_slot(&self) -> bool {
        self.namespace().is_some_and(|namespace| self.policy.namespaces.is_slot(&namespace.name))
    }

    /// Returns the object's kind if the baseline has objects of it.
    pub(crate) fn baseline_kind(&self) -> Option<BaselineKind> {
        match self.kind {
            Kind::ServiceAccount => Some(BaselineKind::ServiceAccount),
            Kind::Role => Some(BaselineKind::Role),
            Kind::RoleBinding => Some(BaselineKind::RoleBinding),
            Kind::ResourceQuota => Some(BaselineKind::ResourceQuota),
            Kind::LimitRange => Some(BaselineKind::LimitRange),
            _ => None,
        }
    }

    /// Returns true if the object has the name of a baseline object of its kind, in any profile or set.
    pub(crate) fn has_baseline_name(&self) -> bool {
        self.baseline_kind().is_some_and(|kind| names(self.policy, kind).any(|name| name == self.name))
    }

    /// Returns true if the object is part of the baseline: by its name, or by a label that only the baseline may have.
    pub(crate) fn is_baseline(&self, write: &Write<'_>) -> bool {
        let is_labelled = |object: &Value| Meta::of(object).labels().any(|(key, _)| key == keys::MANAGED_BY);
        self.baseline_kind().is_some()
            && (self.has_baseline_name() || [write.old, write.new].into_iter().flatten().any(is_labelled))
    }

    /// Returns true if the requester maintains the baseline.
    pub(crate) fn maintains_baseline(&self) -> bool {
        matches!(self.requester.role, Role::Manager | Role::Reconciler)
    }

    /// Returns true if the platform writes its own objects: the baseline, or its stack in a slot.
    pub(crate) fn is_the_platforms(&self) -> bool {
        (self.maintains_baseline() && self.has_baseline_name())
            || (self.requester.is_manager() && self.is_in_slot())
    }
}

/// A rule about objects in a namespace with its functions.
#[derive(Debug)]
pub(crate) struct Check {
    /// The rule.
    pub rule: &'static Rule,
    /// The validation.
    pub validate: Validate,
    /// Sets values in objects that a manager writes.
    pub mutate: Option<Mutate>,
}

impl Check {
    /// Creates a check that changes nothing.
    pub(crate) const fn new(rule: &'static Rule, validate: Validate) -> Self {
        Self { rule, validate, mutate: None }
    }

    /// Sets values with this function.
    #[must_use]
    pub(crate) const fn with_mutation(self, mutate: Mutate) -> Self {
        Self { mutate: Some(mutate), ..self }
    }
}

impl HasRule for Check {
    fn rule(&self) -> &'static Rule {
        self.rule
    }

    fn mutates(&self) -> bool {
        self.mutate.is_some()
    }
}
