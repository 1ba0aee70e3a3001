//! Defaults for a new run namespace.

use codex_k8s_shared::lease::{GoDuration, LeaseInstant};
use codex_k8s_shared::names::{ParsedName, parse_run_namespace};
use codex_k8s_shared::policy::SecurityLevels;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_shared::{keys, sanitize};

use super::subject::{Context, Namespace};
use crate::rules::Edits;

/// The annotations that only the reconciler writes.
pub(super) const BASELINE: [&str; 4] =
    [keys::BASELINE_READY_AT, keys::BASELINE_HASH, keys::BASELINE_WAITS_FOR, keys::QUOTA_PENDING_SINCE];

/// Sets the identity labels from the given ones, or else from the name.
pub(super) fn identity(context: &Context<'_>, namespace: &Namespace<'_>, edits: &mut Edits<'_>) {
    let parsed = parse_run_namespace(context.name, &context.policy.namespaces.prefixes);
    let run_id = run_id(parsed.as_ref());
    let project_id = parsed.as_ref().and_then(|parsed| parsed.project).unwrap_or(sanitize::UNKNOWN);
    let labels = [
        (keys::MANAGED_BY, keys::MANAGED_BY_VALUE),
        (keys::NAMESPACE_PURPOSE, keys::NAMESPACE_PURPOSE_VALUE),
        (keys::RUNTIME_MODE, RuntimeMode::FullEnv.as_str()),
        (keys::RUN_ID, &run_id),
        (keys::PROJECT_ID, project_id),
    ];
    for (key, value) in labels {
        if namespace.meta.label(key).is_none() {
            edits.label(&[], key, value);
        }
    }
    if let Some(issue) = parsed.and_then(|parsed| parsed.issue)
        && namespace.meta.label(keys::ISSUE_NUMBER).is_none()
    {
        edits.label(&[], keys::ISSUE_NUMBER, &issue.to_string());
    }
}

fn run_id(parsed: Option<&ParsedName<'_>>) -> String {
    let value = parsed.map_or("", |parsed| parsed.run.unwrap_or(parsed.rest));
    sanitize::sanitize_label(value).into()
}

/// Sets the lease of a new namespace: given annotations are kept, and the missing ones follow from them.
pub(super) fn lease(context: &Context<'_>, namespace: &Namespace<'_>, edits: &mut Edits<'_>) {
    let meta = namespace.meta;
    let given = |key| meta.annotation(key);
    let instant = |key| given(key).and_then(|text| text.parse::<LeaseInstant>().ok());
    let updated_at =
        instant(keys::NAMESPACE_LEASE_UPDATED_AT).or_else(|| LeaseInstant::from_timestamp(context.facts.now));
    let Some(updated_at) = updated_at else { return };
    let ttl = match (given(keys::NAMESPACE_LEASE_TTL), instant(keys::NAMESPACE_LEASE_EXPIRES_AT)) {
        (Some(text), _) => text.parse::<GoDuration>().ok(),
        (None, Some(expires_at)) => expires_at.since(updated_at),
        (None, None) => Some(context.policy.lease.ttl_for(meta.label(keys::AGENT_KEY)).into()),
    };
    let Some((ttl, expires_at)) = ttl.and_then(|ttl| Some((ttl, updated_at.checked_add(ttl)?))) else {
        return;
    };
    let parts = [
        (keys::NAMESPACE_LEASE_TTL, ttl.to_string()),
        (keys::NAMESPACE_LEASE_EXPIRES_AT, expires_at.to_string()),
        (keys::NAMESPACE_LEASE_UPDATED_AT, updated_at.to_string()),
    ];
    for (key, value) in parts {
        if given(key).is_none() {
            edits.annotation(&[], key, &value);
        }
    }
}

/// Sets the requester of the namespace, and the id of its audit rows.
///
/// A slot is created without labels, and until it is managed any user can annotate it. Annotations that name another
/// requester, or say that its baseline is ready, may be forged: they are replaced.
pub(super) fn provenance(context: &Context<'_>, namespace: &Namespace<'_>, edits: &mut Edits<'_>) {
    let requested_by = namespace.meta.annotation(keys::REQUESTED_BY);
    if requested_by.is_none_or(|user| context.becomes_managed && user != context.requester.user) {
        edits.annotation(&[], keys::REQUESTED_BY, context.requester.user);
    }
    for key in BASELINE.into_iter().filter(|_| context.becomes_managed) {
        if namespace.meta.annotation(key).is_some() {
            edits.remove(&["metadata", "annotations", key]);
        }
    }
    if namespace.meta.annotation(keys::CORRELATION_ID).is_none() {
        let parsed = parse_run_namespace(context.name, &context.policy.namespaces.prefixes);
        let run_id = run_id(parsed.as_ref());
        let run_id = namespace.meta.label(keys::RUN_ID).unwrap_or(&run_id);
        edits.annotation(&[], keys::CORRELATION_ID, run_id);
    }
}

/// Removes the hold of a bare slot that becomes managed: any user could have set it.
pub(super) fn hold(context: &Context<'_>, namespace: &Namespace<'_>, edits: &mut Edits<'_>) {
    if context.becomes_managed && namespace.meta.annotation(keys::HOLD).is_some() {
        edits.remove(&["metadata", "annotations", keys::HOLD]);
    }
}

/// Returns the levels that the policy requires for this namespace.
pub(super) fn levels(context: &Context<'_>) -> SecurityLevels {
    let levels = context.policy.pod_security;
    if context.is_slot() { levels.slot } else { levels.run }
}

/// Sets the Pod Security levels of the policy.
pub(super) fn pod_security(context: &Context<'_>, namespace: &Namespace<'_>, edits: &mut Edits<'_>) {
    let levels = levels(context);
    for (key, level) in
        [(keys::POD_SECURITY_ENFORCE, levels.enforce), (keys::POD_SECURITY_AUDIT, levels.audit)]
    {
        if namespace.meta.label(key).is_none() {
            edits.label(&[], key, level.as_str());
        }
    }
}
