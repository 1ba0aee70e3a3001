//! A person's hold against cleanup.

use codex_k8s_shared::hold::Hold;
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::{GoDuration, later};
use codex_k8s_shared::policy::Mode;

use super::{Context, Judge, Namespace};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::report::{Report, annotation_path, quoted};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "LEASE007",
    title: "A hold names its end and its reason",
    why: "A namespace that is held for ever, by nobody knows whom and for what, is a leak with a label.",
    remedy: "Write codex-k8s.dev/hold as a time in UTC, a blank and a reason, such as \"2026-01-31T12:00:00Z looking \
             into the failed migration\", no further ahead than cleanup.maxHold of the policy.",
    default_mode: Mode::Enforce,
    check: Check::Namespace {
        judge: &[Judge::Birth(hold_is_bounded), Judge::Change(new_hold_is_bounded)],
        mend: None,
    },
}];

fn new_hold_is_bounded(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    if old.meta.annotation(keys::HOLD) != new.meta.annotation(keys::HOLD) {
        hold_is_bounded(context, new, report);
    }
}

fn hold_is_bounded(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(text) = namespace.meta.annotation(keys::HOLD) else { return };
    let path = annotation_path(keys::HOLD);
    let Ok(hold) = text.parse::<Hold>() else {
        let remedy =
            "expected a time in UTC, a blank and a reason, such as \"2026-01-31T12:00:00Z looking into it\"";
        return report.invalid(path, quoted(text), remedy);
    };
    let longest = context.policy.cleanup.max_hold;
    if later(context.facts.now, longest).is_none_or(|latest| hold.until.timestamp() > latest) {
        let remedy = format!("expected a time at most {} ahead of now", GoDuration::from(longest));
        report.invalid(path, quoted(text), remedy);
    }
}
