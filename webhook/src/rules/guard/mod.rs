//! Rules about the other objects in a run namespace: its baseline, roles and bindings, quotas, Secrets and tokens. None
//! of these may grant more than the policy, and bindings elsewhere may not grant rights to its `ServiceAccounts`.
//!
//! The platform's worker writes its own values to the baseline objects again and again. The webhook replaces them with
//! the policy's values, so that neither side finds changes made by the other. Such a write is never denied, because the
//! reconciler repairs what the webhook could not replace.

mod baseline;
mod binding;
mod elsewhere;
mod everybody;
mod examples;
mod quota;
mod role;
mod secret;
mod token;

#[cfg(test)]
mod tests;

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use super::catalogue::{Check, Rule};
use super::report::Report;
use super::{Edits, Entry, Facts, Finding, Kind, ManagedNamespace, Meta, Request, Requester, Role, Verdict};

pub use elsewhere::{ANONYMOUS, EVERYBODY, Included, included, namespaces};
pub use secret::TOKEN as TOKEN_SECRET;
pub use token::KUBELETS;

/// The user name of kube-apiserver itself. Its writes are never denied, because it needs them to start.
pub const API_SERVER: &str = "system:apiserver";

/// The context of the rules about objects in a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
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
pub struct Write<'a> {
    /// The stored object.
    pub old: Option<&'a Value>,
    /// The object as it would be stored.
    pub new: Option<&'a Value>,
}

/// A validation. Each one compares the old object with the new one by itself, because the order of lists does not
/// matter here.
pub type Validate = fn(&Context<'_>, &Write<'_>, &mut Report);

/// Sets values in objects that a manager writes.
pub type Mutate = fn(&Context<'_>, &Write<'_>, &mut Edits<'_>);

impl<'a> Context<'a> {
    /// Returns the managed namespace that contains the object.
    pub fn namespace(&self) -> Option<&'a ManagedNamespace> {
        self.facts.namespace.as_deref()
    }

    /// Returns true if the object is in a slot.
    pub fn is_in_slot(&self) -> bool {
        self.namespace().is_some_and(|namespace| self.policy.namespaces.is_slot(&namespace.name))
    }

    /// Returns the object's kind if the baseline has objects of it.
    pub fn baseline_kind(&self) -> Option<BaselineKind> {
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
    pub fn has_baseline_name(&self) -> bool {
        self.baseline_kind().is_some_and(|kind| names(self.policy, kind).any(|name| name == self.name))
    }

    /// Returns true if the object is part of the baseline: by its name, or by a label that only the baseline may have.
    pub fn is_baseline(&self, write: &Write<'_>) -> bool {
        let is_labelled = |object: &Value| Meta::of(object).labels().any(|(key, _)| key == keys::MANAGED_BY);
        self.baseline_kind().is_some()
            && (self.has_baseline_name() || [write.old, write.new].into_iter().flatten().any(is_labelled))
    }

    /// Returns true if the requester maintains the baseline.
    pub fn by_keeper(&self) -> bool {
        matches!(self.requester.role, Role::Manager | Role::Reconciler)
    }

    /// Returns true if the platform writes its own objects: the baseline, or its stack in a slot.
    pub fn is_the_platforms(&self) -> bool {
        (self.by_keeper() && self.has_baseline_name()) || (self.requester.is_manager() && self.is_in_slot())
    }
}

/// Returns the rules about objects in a namespace, in the order of their ids.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        baseline::RULES,
        role::RULES,
        binding::RULES,
        elsewhere::RULES,
        everybody::RULES,
        secret::RULES,
        token::RULES,
        quota::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Evaluates a request about an object in a namespace, or about a binding elsewhere.
pub fn decide(
    policy: &RunPolicy,
    facts: &Facts,
    request: &Request<'_>,
    requester: &Requester<'_>,
    entry: Entry,
) -> Verdict {
    let write = Write { old: request.old_object.as_ref(), new: request.object.as_ref() };
    let name = match request.name {
        "" => write.new.or(write.old).and_then(|object| Meta::of(object).text("name")).unwrap_or_default(),
        name => name,
    };
    let context = Context {
        policy,
        facts,
        requester,
        kind: request.kind,
        name,
        groups: &request.groups,
        status: request.subresource == Some("status"),
    };
    if !is_in_scope(&context) {
        return Verdict::default();
    }
    let mut verdict = Verdict { in_scope: true, ..Verdict::default() };
    match (entry, write.new) {
        (Entry::Mutate, Some(new)) => verdict.patch = mutate(&context, &write, new, &mut verdict.evaluated),
        (Entry::Mutate, None) => {}
        (Entry::Validate, _) => verdict.findings = validate(&context, &write, &mut verdict.evaluated),
    }
    verdict
}

/// Returns true for objects in managed namespaces, bindings anywhere, and `ClusterRoles` that are bound to all users.
/// Writes of the cluster's controllers to their own records are excluded: they must succeed, or no namespace could be
/// deleted.
fn is_in_scope(context: &Context<'_>) -> bool {
    if context.kind == Kind::ClusterRole {
        // The controller that fills aggregated roles is not exempt: labels of other users decide what it writes.
        return everybody::is_listed(context) && context.requester.user != API_SERVER;
    }
    let is_binding = matches!(context.kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
    let grants = matches!(context.kind, Kind::Secret | Kind::TokenRequest) || context.status;
    let bookkeeping = !grants
        && (context.requester.is_cluster_controller(context.policy) || context.requester.user == API_SERVER);
    !bookkeeping && (is_binding || context.namespace().is_some())
}

fn mutate(
    context: &Context<'_>,
    write: &Write<'_>,
    new: &Value,
    evaluated: &mut Vec<&'static Rule>,
) -> json_patch::Patch {
    let mut edits = Edits::new(new);
    for rule in rules() {
        if let Check::Guard { mutate: Some(mutate), .. } = rule.check
            && super::mode(context.policy, rule) != Mode::Off
        {
            evaluated.push(rule);
            mutate(context, write, &mut edits);
        }
    }
    edits.finish()
}

fn validate(context: &Context<'_>, write: &Write<'_>, evaluated: &mut Vec<&'static Rule>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules() {
        let mode = super::mode(context.policy, rule);
        let Check::Guard { validate, .. } = rule.check else { continue };
        if mode != Mode::Off {
            let mut report = Report::new(rule, mode);
            evaluated.push(rule);
            validate(context, write, &mut report);
            findings.extend(report.into_findings());
        }
    }
    findings
}
