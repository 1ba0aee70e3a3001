//! The gate: no workload starts before the baseline of the namespace is ready.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;

use super::examples::gate as examples;
use super::subject::{Check, Context, Validate, Workload};
use crate::rules::report::{Report, annotation_path};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] =
    &[Check::new(&GATE001, Validate::State(baseline_is_live)).also_for_platform_stack()];

static GATE001: Rule = Rule {
    id: "GATE001",
    title: "A workload does not start before the baseline is ready",
    why: "A ResourceQuota has no effect until it has been counted once: milliseconds after its creation on an idle \
          cluster, seconds after a burst. A Pod that starts before that is never limited by it.",
    remedy: "Try again in a moment; kubectl and client-go retry by themselves. If it takes long, the annotation \
             codex-k8s.dev/baseline-waits-for of the namespace and the log of codex-k8s-guard reconcile give the \
             reason.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::GATE001,
};

fn baseline_is_live(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let namespace = context.namespace;
    if namespace.ready || !workload.is_the_runs() {
        return;
    }
    let found = namespace.waits_for.as_deref().map_or_else(
        || "nothing".to_owned(),
        |missing| format!("a baseline that is not complete: {missing}"),
    );
    let path = format!("namespace {}: {}", namespace.name, annotation_path(keys::BASELINE_READY_AT));
    report.not_ready(path, found, "the baseline is being put in place; try again in a moment");
}
