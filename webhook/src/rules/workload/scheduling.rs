//! Where a workload runs, and before whom.

use codex_k8s_shared::policy::Mode;

use super::examples::scheduling as examples;
use super::{Context, Workload};
use crate::rules::Kind;
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted, quoted_or_nothing};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "JOB012",
        title: "The scheduler chooses the node",
        why: "A Pod that names its node passes by the scheduler and every taint that keeps it off.",
        remedy: "Leave nodeName out and bind no Pod; use a nodeSelector. A scheduler of the cluster is listed in \
                 identities.workloadControllers.",
        reads: &[],
        default_mode: Mode::Enforce,
        check: Check::Workload {
            validate: |context, workload, report| {
                listed(context, workload, report, "nodeName", &[]);
                nobody_else_binds(context, workload, report);
            },
            mutate: None,
        },
        examples: examples::JOB012,
    },
    Rule {
        id: "JOB013",
        title: "Priority classes come from an allow-list",
        why: "A Pod of high priority evicts the platform's own.",
        remedy: "Leave priorityClassName out, or list it in jobs.priorityClasses.",
        reads: &["jobs.priorityClasses"],
        default_mode: Mode::Enforce,
        check: Check::Workload {
            validate: |context, workload, report| {
                listed(context, workload, report, "priorityClassName", &context.policy.jobs.priority_classes);
            },
            mutate: None,
        },
        examples: examples::JOB013,
    },
    Rule {
        id: "JOB014",
        title: "Schedulers come from an allow-list",
        why: "A scheduler of somebody's own places Pods where it likes.",
        remedy: "Leave schedulerName out, or list it in jobs.schedulers.",
        reads: &["jobs.schedulers"],
        default_mode: Mode::Enforce,
        check: Check::Workload {
            validate: |context, workload, report| {
                listed(context, workload, report, "schedulerName", &context.policy.jobs.schedulers);
            },
            mutate: None,
        },
        examples: examples::JOB014,
    },
    Rule {
        id: "JOB015",
        title: "Runtime classes come from an allow-list",
        why: "Pod Security can be told to look away from a runtime class.",
        remedy: "Leave runtimeClassName out, or list it in jobs.runtimeClasses.",
        reads: &["jobs.runtimeClasses"],
        default_mode: Mode::Enforce,
        check: Check::Workload {
            validate: |context, workload, report| {
                listed(context, workload, report, "runtimeClassName", &context.policy.jobs.runtime_classes);
            },
            mutate: None,
        },
        examples: examples::JOB015,
    },
    Rule {
        id: "JOB016",
        title: "Tolerations come from an allow-list",
        why: "A Pod that tolerates everything runs on the control plane's nodes as well.",
        remedy: "Leave tolerations out, or list key and effect in jobs.tolerations.",
        reads: &["jobs.tolerations"],
        default_mode: Mode::Enforce,
        check: Check::Workload { validate: tolerations_are_listed, mutate: None },
        examples: examples::JOB016,
    },
];

fn listed(
    context: &Context<'_>,
    workload: &Workload<'_>,
    report: &mut Report,
    field: &str,
    allowed: &[String],
) {
    let Some(spec) = workload.pod_spec().filter(|_| !context.generated) else { return };
    if let Some(found) = text(spec, field).filter(|found| !allowed.iter().any(|listed| listed == found)) {
        let remedy = if allowed.is_empty() {
            "leave it out".to_owned()
        } else {
            format!("expected {}", allowed.join(" or "))
        };
        report.forbid(workload.pod_field(field), quoted(found), remedy);
    }
}

fn nobody_else_binds(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if workload.kind == Kind::Binding && !context.generated {
        let node = at(workload.object, &["target"]).and_then(|target| text(target, "name"));
        report.forbid("target.name", quoted_or_nothing(node), "leave the Pod to the scheduler");
    }
}

fn tolerations_are_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec().filter(|_| !context.generated) else { return };
    for (index, toleration) in items(spec.get("tolerations")).enumerate() {
        let part = |name| text(toleration, name).unwrap_or_default();
        let (key, effect) = (part("key"), part("effect"));
        let allowed =
            context.policy.jobs.tolerations.iter().any(|listed| listed.key == key && listed.effect == effect);
        if !allowed {
            let found = match key {
                "" => "a toleration of every taint".to_owned(),
                key => quoted(&format!("{key}:{effect}")),
            };
            report.forbid(
                workload.pod_field(&format!("tolerations[{index}]")),
                found,
                "not in jobs.tolerations of the policy",
            );
        }
    }
}
