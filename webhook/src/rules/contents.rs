//! Rules about the other objects in a run namespace: its baseline, roles and bindings, quotas, Secrets and tokens. None
//! of these may grant more than the policy, and bindings elsewhere may not grant rights to its `ServiceAccounts`.
//!
//! The platform's worker writes its own values to the baseline objects again and again. The webhook replaces them with
//! the policy's values, so that neither side finds changes made by the other. Such a write is never denied, because the
//! reconciler repairs what the webhook could not replace.

#[cfg(test)]
mod tests;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::requester::API_SERVER;
use super::write::{Check, Context, Write};
use super::{Entry, Facts, Finding, Kind, Meta, Request, Requester, Rule, Verdict};
use super::{baseline, evaluate, rbac};

/// Returns the rules about objects in a namespace, in the order of their ids.
pub(crate) fn checks() -> impl Iterator<Item = &'static Check> {
    let baseline = [baseline::objects::CHECKS].into_iter();
    baseline.chain(rbac::CHECKS).chain([baseline::quota::CHECKS]).flatten()
}

/// Evaluates a request about an object in a namespace, or about a binding elsewhere.
pub(crate) fn decide(
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
        (Entry::Mutate, Some(new)) => mutate(&context, &write, new, &mut verdict),
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
        return rbac::is_bound_to_everybody(context) && context.requester.user != API_SERVER;
    }
    let is_binding = matches!(context.kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
    let grants = matches!(context.kind, Kind::Secret | Kind::TokenRequest) || context.status;
    let bookkeeping = !grants
        && (context.requester.is_cluster_controller(context.policy) || context.requester.user == API_SERVER);
    !bookkeeping && (is_binding || context.namespace().is_some())
}

fn mutate(context: &Context<'_>, write: &Write<'_>, new: &Value, verdict: &mut Verdict) {
    evaluate::mutate(context.policy, checks(), new, verdict, |check, edits| {
        let Some(mutate) = check.mutate else { return false };
        mutate(context, write, edits);
        true
    });
}

fn validate(context: &Context<'_>, write: &Write<'_>, evaluated: &mut Vec<&'static Rule>) -> Vec<Finding> {
    evaluate::validate(context.policy, checks(), evaluated, |check, report| {
        (check.validate)(context, write, report);
        true
    })
}
