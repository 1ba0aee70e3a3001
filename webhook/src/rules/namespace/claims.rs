//! Rules about the run ids that only managers may use.

use codex_k8s_shared::identity::is_uuid;
use codex_k8s_shared::keys;
use codex_k8s_shared::names::parse_run_namespace;
use codex_k8s_shared::policy::Mode;

use super::examples::claims as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, label_path, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(&NS019, &[Validate::Creation(run_is_not_the_platforms)])];

static NS019: Rule = Rule {
    id: "NS019",
    title: "Only managers use a run id of the platform's form",
    why: "The platform takes the first namespace with a run's id, or its name, for the run's own. A user who creates \
          that namespace before the platform does gets the run's agent and its secrets.",
    remedy: "Use a run id that is not a UUID. If users start the platform's runs with render --apply, list them in \
             identities.managers or set this rule to warn.",
    subject: Subject::Namespace,
    reads: &["identities.managers"],
    default_mode: Mode::Enforce,
    examples: examples::NS019,
};

/// Later changes of the label have their own rule: only managers may make them.
fn run_is_not_the_platforms(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if context.requester.is_manager() {
        return;
    }
    let remedy = "only managers claim a run id of the platform's form (a UUID)";
    if let Some(run_id) = namespace.meta.label(keys::RUN_ID).filter(|run_id| is_uuid(run_id)) {
        report.forbid(label_path("", keys::RUN_ID), quoted(run_id), remedy);
    }
    let parsed = parse_run_namespace(context.name, &context.policy.namespaces.prefixes);
    if parsed.and_then(|parsed| parsed.run).is_some_and(is_start_of_a_uuid) {
        report.forbid(
            "metadata.name",
            quoted(context.name),
            "only managers create the namespace of a run of the platform",
        );
    }
}

/// Returns true if the run part of a name is what the platform's worker makes of a UUID: its first 12 digits.
fn is_start_of_a_uuid(run: &str) -> bool {
    run.len() == 12 && run.bytes().all(|byte| byte.is_ascii_hexdigit())
}
