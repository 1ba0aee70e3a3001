//! Rules about leases: how long a run namespace lives, and who may change that.

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{Lease, LeaseInstant, later};
use codex_k8s_shared::policy::Mode;
use jiff::Timestamp;
use std::time::Duration;

use super::defaults;
use super::examples::lease as examples;
use super::subject::{Check, Context, Key, Namespace, Validate};
use crate::rules::report::{Report, annotation_path, quoted_or_nothing};
use crate::rules::requester::Role;
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&LEASE001, &[Validate::State(lease_is_readable)])
        .with_mutation(defaults::lease)
        .restoring(unchanged_lease),
    Check::new(&LEASE002, &[Validate::Creation(lease_is_bounded), Validate::Change(new_lease_is_bounded)]),
    Check::new(&LEASE003, &[Validate::State(lease_is_consistent)]),
    Check::new(&LEASE004, &[Validate::Change(lease_moves_forward)]),
    Check::new(
        &LEASE005,
        &[Validate::Creation(agent_holds_nothing), Validate::Change(agent_leaves_the_lease)],
    ),
    Check::new(&LEASE006, &[Validate::Change(lifetime_is_bounded)]),
];

static LEASE001: Rule = Rule {
    id: "LEASE001",
    title: "A run namespace has a lease in the platform's exact formats",
    why: "A lease that cannot be parsed never ends or has already ended, depending on the program that reads it.",
    remedy: "Leave the three lease annotations out: they are added. Or write the ttl as 24h0m0s and both times \
             as 2026-01-31T12:00:00Z.",
    subject: Subject::Namespace,
    reads: &["lease.defaultTtl", "lease.ttlByRole"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE001,
};

static LEASE002: Rule = Rule {
    id: "LEASE002",
    title: "A lease is neither too short nor too long",
    why: "A lease of a second deletes a run in progress; one of a century never ends in practice.",
    remedy: "Choose a ttl from lease.minTtl to lease.maxTtl of the policy, and an expiry in the future.",
    subject: Subject::Namespace,
    reads: &["lease.minTtl", "lease.maxTtl", "lease.tolerance"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE002,
};

static LEASE003: Rule = Rule {
    id: "LEASE003",
    title: "The annotations of a lease agree",
    why: "Some programs read the expiry, others compute it from the ttl: both must get the same time.",
    remedy: "Set expires-at to updated-at plus ttl.",
    subject: Subject::Namespace,
    reads: &["lease.tolerance"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE003,
};

static LEASE004: Rule = Rule {
    id: "LEASE004",
    title: "Only managers shorten a lease",
    why: "A user who can shorten a lease can have the namespace deleted. The reconciler shortens a lease once, \
          when a namespace becomes pending: to quotas.pendingTtl from then on.",
    remedy: "Leave the lease unchanged or extend it. A manager may shorten it.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "identities.reconcilers", "lease.tolerance", "quotas.pendingTtl"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE004,
};

static LEASE005: Rule = Rule {
    id: "LEASE005",
    title: "An agent does not change a lease or hold a namespace",
    why: "An agent that renews its own lease, or holds its own namespace, would never be removed.",
    remedy: "Let the platform or a person extend the lease or set codex-k8s.dev/hold.",
    subject: Subject::Namespace,
    reads: &["identities.candidateServiceAccounts", "namespaces.slotProjects"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE005,
};

static LEASE006: Rule = Rule {
    id: "LEASE006",
    title: "Only managers extend a lease beyond the maximum lifetime",
    why: "A lease that is extended every day never ends.",
    remedy: "Create a new run namespace, or let the platform extend this lease.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "lease.maxLifetime"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE006,
};

const PARTS: [&str; 3] =
    [keys::NAMESPACE_LEASE_TTL, keys::NAMESPACE_LEASE_EXPIRES_AT, keys::NAMESPACE_LEASE_UPDATED_AT];

fn readable(namespace: &Namespace<'_>) -> Option<Lease> {
    Lease::read(|key| namespace.meta.annotation(key)).ok().flatten()
}

fn is_changed(old: &Namespace<'_>, new: &Namespace<'_>) -> bool {
    PARTS.iter().any(|key| old.meta.annotation(key) != new.meta.annotation(key))
}

/// Returns true if the new lease was written later than the old one, or ends later.
pub(super) fn is_renewed(old: &Namespace<'_>, new: &Namespace<'_>) -> bool {
    match (readable(old), readable(new)) {
        (Some(old), Some(new)) => new.updated_at > old.updated_at || new.expires_at > old.expires_at,
        (None, after) => after.is_some(),
        (Some(_), None) => false,
    }
}

/// Returns the parts of the lease, unless the update changes one: they belong together.
fn unchanged_lease(_: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>) -> Vec<Key> {
    let changes =
        |key: &&str| new.meta.annotation(key).is_some_and(|after| old.meta.annotation(key) != Some(after));
    if PARTS.iter().any(changes) { Vec::new() } else { PARTS.map(Key::Annotation).to_vec() }
}

fn lease_is_readable(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    match Lease::read(|key| namespace.meta.annotation(key)) {
        Ok(Some(_)) => {}
        Ok(None) => {
            let path = annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT);
            report.invalid(path, "nothing", "a run namespace has a lease: ttl, expires-at and updated-at");
        }
        Err(error) => {
            let found = quoted_or_nothing(namespace.meta.annotation(error.key()));
            report.invalid(annotation_path(error.key()), found, error.expected());
        }
    }
}

fn lease_is_bounded(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(lease) = readable(namespace) else { return };
    let policy = &context.policy.lease;
    let found = |key| quoted_or_nothing(namespace.meta.annotation(key));
    let ttl = Duration::from(lease.ttl);
    if ttl < policy.min_ttl || ttl > policy.max_ttl {
        let remedy = format!("must be at least {} and at most {}", go(policy.min_ttl), go(policy.max_ttl));
        report.invalid(annotation_path(keys::NAMESPACE_LEASE_TTL), found(keys::NAMESPACE_LEASE_TTL), remedy);
    }
    let expires_at = lease.expires_at.timestamp();
    let path = annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT);
    if expires_at <= context.facts.now {
        report.invalid(path, found(keys::NAMESPACE_LEASE_EXPIRES_AT), "must be a time ahead of now");
    } else if later(context.facts.now, policy.max_ttl + policy.tolerance)
        .is_some_and(|latest| expires_at > latest)
    {
        let remedy = format!("must be a time at most {} ahead of now", go(policy.max_ttl));
        report.invalid(path, found(keys::NAMESPACE_LEASE_EXPIRES_AT), remedy);
    }
    let updated_at = lease.updated_at.timestamp();
    if later(context.facts.now, policy.tolerance).is_some_and(|latest| updated_at > latest) {
        let path = annotation_path(keys::NAMESPACE_LEASE_UPDATED_AT);
        report.invalid(
            path,
            found(keys::NAMESPACE_LEASE_UPDATED_AT),
            "must be a time that is not ahead of now",
        );
    }
}

fn new_lease_is_bounded(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if is_changed(old, new) || context.becomes_managed {
        lease_is_bounded(context, new, report);
    }
}

fn lease_is_consistent(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(lease) = readable(namespace) else { return };
    if !lease.is_consistent(context.policy.lease.tolerance) {
        let found = quoted_or_nothing(namespace.meta.annotation(keys::NAMESPACE_LEASE_EXPIRES_AT));
        let remedy = match lease.updated_at.checked_add(lease.ttl) {
            Some(expected) => format!("updated-at plus ttl is {expected}"),
            None => "updated-at plus ttl is out of range".to_owned(),
        };
        report.invalid(annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT), found, remedy);
    }
}

fn lease_moves_forward(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    if context.requester.is_manager() || !old.is_managed() || is_cut_without_a_reservation(context, old, new)
    {
        return;
    }
    let Some(before) = readable(old) else { return };
    let Some(after) = readable(new) else { return };
    let moved_back = |before: LeaseInstant, after: LeaseInstant| after < before;
    for (key, before, after) in [
        (keys::NAMESPACE_LEASE_EXPIRES_AT, before.expires_at, after.expires_at),
        (keys::NAMESPACE_LEASE_UPDATED_AT, before.updated_at, after.updated_at),
    ] {
        if moved_back(before, after) {
            let remedy = format!("it was \"{before}\"; only a manager moves it back");
            report.forbid(annotation_path(key), quoted_or_nothing(new.meta.annotation(key)), remedy);
        }
    }
}

/// Returns true for the reconciler's write when a namespace becomes pending, and for no other write.
fn is_cut_without_a_reservation(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>) -> bool {
    let has = |namespace: &Namespace<'_>, key| namespace.meta.annotation(key).is_some();
    let becomes_pending = !has(old, keys::QUOTA_PENDING_SINCE)
        && has(new, keys::QUOTA_PENDING_SINCE)
        && !has(new, keys::BASELINE_READY_AT);
    let Some(lease) = readable(new).filter(|_| becomes_pending && context.requester.role == Role::Reconciler)
    else {
        return false;
    };
    let policy = context.policy;
    Duration::from(lease.ttl) == policy.quotas.pending_ttl
        && lease.updated_at.checked_add(lease.ttl) == Some(lease.expires_at)
        && later(lease.updated_at.timestamp(), policy.lease.tolerance)
            .is_some_and(|latest| latest >= context.facts.now)
}

fn agent_holds_nothing(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if let Some(found) = namespace.meta.annotation(keys::HOLD)
        && context.requester.role == Role::Agent
    {
        report.forbid(annotation_path(keys::HOLD), quoted_or_nothing(Some(found)), "an agent holds nothing");
    }
}

fn agent_leaves_the_lease(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if context.requester.role != Role::Agent {
        return;
    }
    let protected = PARTS.map(|key| (key, "an agent never changes a lease"));
    for (key, remedy) in protected.into_iter().chain([(keys::HOLD, "an agent neither holds nor releases")]) {
        let after = new.meta.annotation(key);
        if old.meta.annotation(key) != after {
            report.forbid(annotation_path(key), quoted_or_nothing(after), remedy);
        }
    }
}

fn lifetime_is_bounded(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    if context.requester.is_manager() || !is_changed(old, new) {
        return;
    }
    let created = old.meta.text("creationTimestamp").and_then(|text| text.parse::<Timestamp>().ok());
    let latest = created.and_then(|created| later(created, context.policy.lease.max_lifetime));
    let (Some(latest), Some(lease)) = (latest, readable(new)) else { return };
    if lease.expires_at.timestamp() > latest
        && readable(old).is_none_or(|old| lease.expires_at > old.expires_at)
    {
        let found = quoted_or_nothing(new.meta.annotation(keys::NAMESPACE_LEASE_EXPIRES_AT));
        let remedy = format!("only a manager extends it beyond {latest}");
        report.forbid(annotation_path(keys::NAMESPACE_LEASE_EXPIRES_AT), found, remedy);
    }
}

fn go(duration: Duration) -> String {
    codex_k8s_shared::lease::GoDuration::from(duration).to_string()
}
