//! Rules about holds, which block the deletion of an expired namespace.

use codex_k8s_shared::hold::Hold;
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{GoDuration, later};
use codex_k8s_shared::policy::Mode;
use jiff::Timestamp;

use super::defaults;
use super::examples::hold as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, annotation_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&LEASE007, &[Validate::Creation(hold_is_bounded), Validate::Change(new_hold_is_bounded)])
        .with_mutation(defaults::hold),
    Check::new(&LEASE008, &[Validate::Creation(first_hold_ends), Validate::Change(renewed_hold_ends)]),
];

static LEASE007: Rule = Rule {
    id: "LEASE007",
    title: "A hold has an end and a reason",
    why: "A namespace that is held for ever, without an owner or a reason, is a leak with a label.",
    remedy: "Set codex-k8s.dev/hold to a time in UTC, a space and a reason, such as \"2026-01-31T12:00:00Z \
             looking into the failed migration\". The time is at most cleanup.maxHold of the policy from now.",
    subject: Subject::Namespace,
    reads: &["cleanup.maxHold"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE007,
};

static LEASE008: Rule = Rule {
    id: "LEASE008",
    title: "Only managers hold a namespace for longer than the maximum",
    why: "A hold that is renewed every week never ends, and the namespace keeps using its quota.",
    remedy: "Choose an end within cleanup.maxHoldLifetime of the namespace's creation, or ask a manager to set \
             the hold.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "cleanup.maxHoldLifetime"],
    default_mode: Mode::Enforce,
    examples: examples::LEASE008,
};

fn new_hold_is_bounded(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    if old.meta.annotation(keys::HOLD) != new.meta.annotation(keys::HOLD) || context.becomes_managed {
        hold_is_bounded(context, new, report);
    }
}

fn hold_is_bounded(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(text) = namespace.meta.annotation(keys::HOLD) else { return };
    let path = annotation_path(keys::HOLD);
    let Ok(hold) = text.parse::<Hold>() else {
        let remedy =
            "must be a time in UTC, a blank and a reason, such as \"2026-01-31T12:00:00Z looking into it\"";
        return report.invalid(path, quoted(text), remedy);
    };
    let longest = context.policy.cleanup.max_hold;
    if later(context.facts.now, longest).is_none_or(|latest| hold.until.timestamp() > latest) {
        let remedy = format!("must be a time at most {} ahead of now", GoDuration::from(longest));
        report.invalid(path, quoted(text), remedy);
    }
}

fn first_hold_ends(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    hold_ends_in_time(context, Some(context.facts.now), None, namespace, report);
}

fn renewed_hold_ends(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    let created = old.meta.text("creationTimestamp").and_then(|text| text.parse().ok());
    hold_ends_in_time(context, created, readable(old), new, report);
}

/// The limit counts from the creation of the namespace, which no update changes, so renewals do not add up. A hold that
/// does not end later than the previous one is always allowed.
fn hold_ends_in_time(
    context: &Context<'_>,
    created: Option<Timestamp>,
    before: Option<Hold>,
    namespace: &Namespace<'_>,
    report: &mut Report,
) {
    let latest = created.and_then(|created| later(created, context.policy.cleanup.max_hold_lifetime));
    let (Some(latest), Some(hold)) = (latest, readable(namespace)) else { return };
    let is_longer = before.is_none_or(|before| hold.until > before.until);
    if hold.until.timestamp() > latest && is_longer && !context.requester.is_manager() {
        let found = quoted_or_nothing(namespace.meta.annotation(keys::HOLD));
        let remedy = format!("only a manager holds it beyond {latest}");
        report.forbid(annotation_path(keys::HOLD), found, remedy);
    }
}

fn readable(namespace: &Namespace<'_>) -> Option<Hold> {
    namespace.meta.annotation(keys::HOLD).and_then(|text| text.parse().ok())
}
