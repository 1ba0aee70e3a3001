//! Deleting a run namespace.

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::Mode;

use super::{Context, Judge, Namespace};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::report::{Report, annotation_path, quoted_or_nothing};
use crate::rules::requester::Role;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "NS015",
    title: "A run namespace whose lease lives is deleted only by the platform",
    why: "A run that is under way would lose its work; a retry would find its namespace half gone.",
    remedy: "Wait for the lease to end, or cancel the run in the platform. In an emergency delete it as a manager \
             (kubectl --as).",
    default_mode: Mode::Enforce,
    check: Check::Namespace { judge: &[Judge::Deletion(lease_has_ended)], mend: None },
}];

fn lease_has_ended(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if matches!(context.requester.role, Role::Manager | Role::GarbageCollector | Role::NamespaceController) {
        return;
    }
    let lease = Lease::read(|key| namespace.meta.annotation(key));
    if matches!(&lease, Ok(Some(lease)) if lease.expires_at.timestamp() <= context.facts.now) {
        return;
    }
    let found = namespace.meta.annotation(keys::NAMESPACE_LEASE_EXPIRES_AT);
    let remedy = match lease {
        Ok(Some(_)) => {
            "the lease lives; only a manager or the garbage collector deletes the namespace before it ends"
        }
        _ => {
            "without a lease that can be read, only a manager or the garbage collector deletes the namespace"
        }
    };
    report.forbid(annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT), quoted_or_nothing(found), remedy);
}
