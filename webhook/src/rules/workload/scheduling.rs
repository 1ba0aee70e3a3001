//! Rules about the node, the priority and the scheduler of a workload.

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::quota::quantity::Quantity;
use serde_json::Value;

use super::examples::scheduling as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        &JOB012,
        Validate::State(|context, workload, report| {
            listed(context, workload, report, "nodeName", &[]);
            nobody_else_binds(context, workload, report);
        }),
    ),
    Check::new(
        &JOB013,
        Validate::State(|context, workload, report| {
            listed(context, workload, report, "priorityClassName", &context.policy.jobs.priority_classes);
        }),
    ),
    Check::new(
        &JOB014,
        Validate::State(|context, workload, report| {
            listed(context, workload, report, "schedulerName", &context.policy.jobs.schedulers);
        }),
    )
    .with_mutation(Mutate::Creation(set_scheduler)),
    Check::new(
        &JOB015,
        Validate::State(|context, workload, report| {
            listed(context, workload, report, "runtimeClassName", &context.policy.jobs.runtime_classes);
        }),
    ),
    Check::new(&JOB016, Validate::State(tolerations_are_listed)),
];

static JOB012: Rule = Rule {
    id: "JOB012",
    title: "The scheduler chooses the node",
    why: "A Pod with a nodeName bypasses the scheduler and every taint that should keep it off the node.",
    remedy: "Leave nodeName out and do not bind Pods; use a nodeSelector. List a scheduler of the cluster in \
             identities.workloadControllers.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB012,
};

static JOB013: Rule = Rule {
    id: "JOB013",
    title: "Priority classes must be listed in the policy",
    why: "A Pod with a high priority evicts the platform's own Pods.",
    remedy: "Leave priorityClassName out, or list it in jobs.priorityClasses.",
    subject: Subject::Workload,
    reads: &["jobs.priorityClasses"],
    default_mode: Mode::Enforce,
    examples: examples::JOB013,
};

static JOB014: Rule = Rule {
    id: "JOB014",
    title: "Schedulers must be listed in the policy",
    why: "A user's own scheduler can place Pods on any node.",
    remedy: "Leave schedulerName out, or list it in jobs.schedulers. The first one listed is the default.",
    subject: Subject::Workload,
    reads: &["jobs.schedulers"],
    default_mode: Mode::Enforce,
    examples: examples::JOB014,
};

static JOB015: Rule = Rule {
    id: "JOB015",
    title: "Runtime classes must be listed in the policy",
    why: "Pod Security can be configured to exempt a runtime class.",
    remedy: "Leave runtimeClassName out, or list it in jobs.runtimeClasses.",
    subject: Subject::Workload,
    reads: &["jobs.runtimeClasses"],
    default_mode: Mode::Enforce,
    examples: examples::JOB015,
};

static JOB016: Rule = Rule {
    id: "JOB016",
    title: "Tolerations must be listed in the policy",
    why: "A Pod that tolerates all taints can run on the control plane's nodes too.",
    remedy: "Leave tolerations out, or list their key and effect in jobs.tolerations.",
    subject: Subject::Workload,
    reads: &["jobs.tolerations"],
    default_mode: Mode::Enforce,
    examples: examples::JOB016,
};

fn listed(
    context: &Context<'_>,
    workload: &Workload<'_>,
    report: &mut Report,
    field: &str,
    allowed: &[String],
) {
    let Some(spec) = workload.pod_spec().filter(|_| !context.generated) else { return };
    let found = text(spec, field).filter(|_| workload.is_authors(field));
    if let Some(found) = found.filter(|found| !allowed.iter().any(|listed| listed == found)) {
        let remedy = if allowed.is_empty() {
            "leave it out".to_owned()
        } else {
            format!("must be {}", allowed.join(" or "))
        };
        report.forbid(workload.pod_field(field), quoted(found), remedy);
    }
}

/// Replaces the scheduler that the API server writes into every workload without one, if the policy does not list it.
fn set_scheduler(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    const SERVERS_DEFAULT: &str = "default-scheduler";
    let Some(spec) = workload.pod_spec().filter(|_| !context.generated) else { return };
    let is_servers = text(spec, "schedulerName").is_none_or(|name| name == SERVERS_DEFAULT);
    let listed = &context.policy.jobs.schedulers;
    if let Some(first) =
        listed.first().filter(|_| is_servers && !listed.iter().any(|name| name == SERVERS_DEFAULT))
    {
        workload.set_in_pod(edits, "schedulerName", first.as_str().into());
    }
}

fn nobody_else_binds(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if workload.kind == Kind::Binding && !context.generated {
        let node = at(workload.object, &["target"]).and_then(|target| text(target, "name"));
        report.forbid("target.name", quoted_or_nothing(node), "leave the Pod to the scheduler");
    }
}

fn tolerations_are_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let evaluated = !context.generated && workload.is_authors("tolerations");
    let Some(spec) = workload.pod_spec().filter(|_| evaluated) else { return };
    for (index, toleration) in items(spec.get("tolerations")).enumerate() {
        let part = |name| text(toleration, name).unwrap_or_default();
        let (key, effect) = (part("key"), part("effect"));
        let listed = &context.policy.jobs.tolerations;
        let allowed = listed.iter().any(|listed| listed.key == key && listed.effect == effect)
            || (effect == "NoSchedule" && requests_device(workload, key));
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

/// Returns true if a container requests an extended resource of this name. The plug-in `ExtendedResourceToleration` adds
/// a toleration of the same name to such a Pod, so that nodes can be reserved for it. A request of nothing does not
/// count: it would be a way to tolerate any taint.
fn requests_device(workload: &Workload<'_>, key: &str) -> bool {
    let is_extended = key.contains('/') && !key.contains("kubernetes.io/");
    is_extended
        && workload.containers().any(|container| {
            let requested = at(container.value, &["resources", "requests", key]);
            let quantity = requested.and_then(Value::as_str).and_then(|text| text.parse::<Quantity>().ok());
            quantity.is_some_and(|quantity| quantity > Quantity::ZERO)
        })
}
