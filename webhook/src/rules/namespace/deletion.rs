//! Rules about the deletion of a run namespace.

use codex_k8s_shared::hold::Hold;
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{Lease, later};
use codex_k8s_shared::policy::{MissingLease, Mode};
use jiff::Timestamp;

use super::examples::deletion as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, annotation_path, quoted, quoted_or_nothing};
use crate::rules::requester::Role;
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(&NS015, &[Validate::Deletion(lease_has_ended)])];

static NS015: Rule = Rule {
    id: "NS015",
    title: "Only managers delete a run namespace before its lease ends",
    why: "A run in progress would lose its work, and a retry would find its namespace half deleted. The garbage \
          collector deletes only what has expired, and so can a user with its stolen token.",
    remedy: "Wait for the lease to end, or cancel the run in the platform. In an emergency, delete it as a manager \
             (kubectl --as).",
    subject: Subject::Namespace,
    reads: &[
        "identities.managers",
        "identities.garbageCollectors",
        "lease.defaultTtl",
        "lease.ttlByRole",
        "cleanup.missingLease",
        "cleanup.retention.*.*.afterFinish",
    ],
    default_mode: Mode::Enforce,
    examples: examples::NS015,
};

fn lease_has_ended(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let by_collector = match context.requester.role {
        Role::Manager | Role::NamespaceController => return,
        role => role == Role::GarbageCollector,
    };
    if by_collector && is_left_to_the_collector(context, namespace, report) {
        return;
    }
    let lease = Lease::read(|key| namespace.meta.annotation(key));
    if matches!(&lease, Ok(Some(lease)) if lease.expires_at.timestamp() <= context.facts.now) {
        return;
    }
    let found = namespace.meta.annotation(keys::NAMESPACE_LEASE_EXPIRES_AT);
    let remedy = match lease {
        Ok(Some(_)) => "the lease lives; only a manager deletes the namespace before it ends",
        _ => "without a lease that can be read, only a manager deletes the namespace",
    };
    report.forbid(annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT), quoted_or_nothing(found), remedy);
}

/// Checks a deletion by the garbage collector, whose own sweep has already decided; this limits what a stolen token can
/// do. Returns true if no further check is needed: there is a hold, or the policy allows the deletion because of the
/// end of the run or the age of the namespace.
fn is_left_to_the_collector(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) -> bool {
    if let Some(hold) = namespace.meta.annotation(keys::HOLD) {
        let ended = hold.parse::<Hold>().is_ok_and(|hold| hold.until.timestamp() <= context.facts.now);
        if !ended {
            report.forbid(
                annotation_path(keys::HOLD),
                quoted(hold),
                "deletion is blocked until the hold ends",
            );
            return true;
        }
    }
    let cleanup = &context.policy.cleanup;
    cleanup.retention.any_after_finish()
        || (cleanup.missing_lease == MissingLease::UseAge && is_old_enough(context, namespace))
}

fn is_old_enough(context: &Context<'_>, namespace: &Namespace<'_>) -> bool {
    let has_lease = matches!(Lease::read(|key| namespace.meta.annotation(key)), Ok(Some(_)));
    let created_at = namespace.meta.text("creationTimestamp").and_then(|text| text.parse::<Timestamp>().ok());
    let ttl = context.policy.lease.ttl_for(namespace.meta.label(keys::AGENT_KEY));
    let end = created_at.and_then(|created| later(created, ttl));
    !has_lease && end.is_some_and(|end| end <= context.facts.now)
}
