//! Rules about quotas and limits outside the baseline.

use codex_k8s_shared::baseline::changes;
use codex_k8s_shared::policy::Mode;

use super::examples::quota as examples;
use crate::rules::Kind;
use crate::rules::report::{Report, clean, quoted};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};

pub(in crate::rules) const CHECKS: &[Check] = &[Check::new(&QUOTA001, none_beside_the_baseline)];

static QUOTA001: Rule = Rule {
    id: "QUOTA001",
    title: "A run namespace has only the baseline's ResourceQuota and LimitRange",
    why: "A LimitRange sets defaults for Pods and rejects others. A second one, or a quota of zero, can stop a run \
          completely, or make all its Pods larger than intended.",
    remedy: "Change the baseline in the policy instead. An existing object can be deleted.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "baseline.*.resourceQuota.name",
        "baseline.*.limitRange.name",
    ],
    default_mode: Mode::Enforce,
    examples: examples::QUOTA001,
};

fn none_beside_the_baseline(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::ResourceQuota | Kind::LimitRange, Some(namespace), Some(new)) =
        (context.kind, context.namespace(), write.new)
    else {
        return;
    };
    if context.status || context.maintains_baseline() || context.is_baseline(write) {
        return;
    }
    let Some(old) = write.old else {
        let remedy = format!("namespace {} has those of its baseline", namespace.name);
        return report.forbid("metadata.name", quoted(context.name), remedy);
    };
    if let Some(change) = changes(old, new).into_iter().find(|change| change.path.starts_with("spec")) {
        let remedy = format!("must stay {}, or is deleted", clean(&change.desired));
        report.forbid(clean(&change.path), clean(&change.found), remedy);
    }
}
