//! Rules about the names of new run namespaces and the creation of slots.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Mode, Namespaces};

use super::examples::creation as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&NS016, &[Validate::Creation(name_is_of_a_run)]).deciding_alone(),
    Check::new(&NS017, &[Validate::Creation(slot_is_of_a_manager)]).deciding_alone(),
];

static NS016: Rule = Rule {
    id: "NS016",
    title: "A run namespace has a valid name",
    why: "The garbage collector deletes only namespaces that have the name of a run. A managed namespace with \
          any other name would use its quota and never be deleted.",
    remedy: "Use a name that begins with one of namespaces.prefixes and a '-', or leave out the labels under \
             codex-k8s.dev/.",
    subject: Subject::Namespace,
    reads: &["namespaces.slotProjects", "namespaces.platform", "namespaces.protected"],
    default_mode: Mode::Enforce,
    examples: examples::NS016,
};

static NS017: Rule = Rule {
    id: "NS017",
    title: "Only managers create a slot",
    why: "A slot has looser rules than other run namespaces because the platform's own programs run in it. A \
          user who can choose a name must not get them.",
    remedy: "Use a name under a reserved prefix, or let the platform create the slot.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "namespaces.slotProjects"],
    default_mode: Mode::Enforce,
    examples: examples::NS017,
};

fn name_is_of_a_run(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let names = &context.policy.namespaces;
    // Protected names have their own rule, which gives the reason.
    if names.is_of_a_run(context.name) || names.is_protected(context.name) {
        return;
    }
    let Some(label) = keys::known_labels().find(|key| namespace.meta.label(key).is_some()) else { return };
    let remedy = format!("the label {label} is allowed only on a namespace whose name {}", forms(names));
    report.forbid("metadata.name", quoted(context.name), remedy);
}

/// Returns the allowed forms of a run namespace's name, as the end of a sentence.
fn forms(names: &Namespaces) -> String {
    let prefixes = names.prefixes.iter().map(|prefix| format!("begins with \"{prefix}-\""));
    let slots = names.slot_projects.iter().map(|project| format!("is \"{project}-dev-<number>\""));
    let all: Vec<_> = prefixes.chain(slots).collect();
    if all.is_empty() { "the policy reserves, which are none".to_owned() } else { all.join(" or ") }
}

fn slot_is_of_a_manager(context: &Context<'_>, _: &Namespace<'_>, report: &mut Report) {
    if context.is_slot() && !context.requester.is_manager() {
        let remedy = "the name is a slot's, and only managers create slots";
        report.forbid("metadata.name", quoted(context.name), remedy);
    }
}
