//! Rules about becoming managed and ceasing to be managed: neither is allowed for an existing namespace.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;

use super::examples::adoption as examples;
use super::subject::{Check, Context, Key, Namespace, Validate};
use crate::rules::report::{Report, label_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&NS006, &[Validate::Change(nothing_is_adopted)]).deciding_alone(),
    Check::new(&NS007, &[Validate::Change(nothing_is_stripped)]).restoring(marks).deciding_alone(),
    Check::new(&NS008, &[Validate::State(protected_is_untouched)]).deciding_alone(),
];

static NS006: Rule = Rule {
    id: "NS006",
    title: "An existing namespace does not become managed",
    why: "A managed namespace is deleted when its lease ends. A user who can label another user's namespace as \
          managed can have it deleted.",
    remedy: "Create a new run namespace. Only a slot (<project>-dev-<n>) is created without labels and labelled \
             later, by a manager.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "namespaces.slotProjects", "namespaces.platform", "namespaces.protected"],
    default_mode: Mode::Enforce,
    examples: examples::NS006,
};

static NS007: Rule = Rule {
    id: "NS007",
    title: "A managed namespace stays managed",
    why: "Without its labels, a namespace escapes its quota, its rules and the garbage collector. An update that \
          leaves one out gets it back, with a warning; it is denied only if the mutating call was skipped.",
    remedy: "Leave the identity labels in place. To end the run, let the lease end, or delete the namespace.",
    subject: Subject::Namespace,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::NS007,
};

static NS008: Rule = Rule {
    id: "NS008",
    title: "A protected namespace does not become a run namespace",
    why: "A managed namespace is deleted some day. The namespaces of the cluster and of the platform must not \
          be, no matter who labels them.",
    remedy: "Use another name. The protected names are listed in namespaces.protected and namespaces.platform of \
             the policy.",
    subject: Subject::Namespace,
    reads: &["namespaces.platform", "namespaces.protected"],
    default_mode: Mode::Enforce,
    examples: examples::NS008,
};

fn nothing_is_adopted(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    let slot = context.is_slot() && context.requester.is_manager();
    if old.is_managed() || slot || context.policy.namespaces.is_protected(context.name) {
        return;
    }
    for (key, value) in new.meta.labels().filter(|(key, _)| keys::in_domain(key)) {
        if old.meta.label(key) == value.as_str() {
            continue;
        }
        let remedy = "this namespace exists and is not managed; create a new one instead";
        report.forbid(label_path("", key), quoted_or_nothing(value.as_str()), remedy);
    }
}

/// The labels that make a namespace a managed one.
const MARKS: [&str; 5] =
    [keys::MANAGED_BY, keys::NAMESPACE_PURPOSE, keys::RUNTIME_MODE, keys::RUN_ID, keys::PROJECT_ID];

fn marks(context: &Context<'_>, _: &Namespace<'_>, _: &Namespace<'_>) -> Vec<Key> {
    let keys = MARKS.into_iter().filter(|_| !context.policy.namespaces.is_protected(context.name));
    keys.map(Key::Label).collect()
}

fn nothing_is_stripped(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    // A namespace that was labelled before it was protected must be able to leave, because a managed namespace is
    // deleted some day.
    if context.policy.namespaces.is_protected(context.name) {
        return;
    }
    for key in MARKS.into_iter().filter(|_| old.is_managed()) {
        if let (Some(before), None) = (old.meta.label(key), new.meta.label(key)) {
            let remedy = format!("must stay {}", quoted(before));
            report.forbid(label_path("", key), "nothing", remedy);
        }
    }
}

fn protected_is_untouched(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if !context.policy.namespaces.is_protected(context.name) {
        return;
    }
    for (key, value) in namespace.meta.labels().filter(|(key, _)| keys::in_domain(key)) {
        let remedy = format!("namespace {} is protected and can never be managed", quoted(context.name));
        report.forbid(label_path("", key), quoted_or_nothing(value.as_str()), remedy);
    }
}
