//! Examples of the rules about the node, the priority and the scheduler of a workload.

use crate::rules::example::User::{Agent, JobController};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB012: &[Example] = &[
    Example::new("a person uses a nodeSelector")
        .creates(Object::Job, "spec: {template: {spec: {nodeSelector: {disk: ssd}}}}"),
    Example::new("a person creates a Job with a nodeName")
        .creates(Object::Job, "spec: {template: {spec: {nodeName: node-1}}}")
        .denied_at("spec.template.spec.nodeName"),
    Example::new("an agent binds a Pod to a node")
        .by(Agent)
        .creates(Object::Binding, "")
        .on("binding")
        .denied_at("target.name"),
    Example::new("a controller of the cluster creates a Pod for one node")
        .by(JobController)
        .creates(Object::Pod, "spec: {serviceAccountName: codex-runner, nodeName: node-1}"),
];

pub(in crate::rules::workload) const JOB013: &[Example] = &[
    Example::new("a person uses a priority class that the policy lists")
        .under("jobs: {priorityClasses: [batch]}")
        .creates(Object::Job, "spec: {template: {spec: {priorityClassName: batch}}}"),
    Example::new("a person uses a priority class that evicts the platform's Pods")
        .creates(Object::Job, "spec: {template: {spec: {priorityClassName: system-node-critical}}}")
        .denied_at("spec.template.spec.priorityClassName"),
];

pub(in crate::rules::workload) const JOB014: &[Example] = &[
    Example::new("a person uses the default scheduler")
        .creates(Object::Job, "spec: {template: {spec: {schedulerName: default-scheduler}}}"),
    Example::new("a person uses a scheduler that the policy does not list")
        .creates(Object::Job, "spec: {template: {spec: {schedulerName: mine}}}")
        .denied_at("spec.template.spec.schedulerName"),
];

pub(in crate::rules::workload) const JOB015: &[Example] = &[
    Example::new("a person uses a runtime class that the policy lists")
        .under("jobs: {runtimeClasses: [gvisor]}")
        .creates(Object::Job, "spec: {template: {spec: {runtimeClassName: gvisor}}}"),
    Example::new("a person uses a runtime class that the policy does not list")
        .creates(Object::Job, "spec: {template: {spec: {runtimeClassName: unconfined}}}")
        .denied_at("spec.template.spec.runtimeClassName"),
];

pub(in crate::rules::workload) const JOB016: &[Example] = &[
    Example::new("a person uses a toleration that the API server adds to every Pod").creates(
        Object::Job,
        "spec: {template: {spec: {tolerations: [
            {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}]}}}",
    ),
    Example::new("a person tolerates all taints")
        .creates(Object::Job, "spec: {template: {spec: {tolerations: [{operator: Exists}]}}}")
        .denied_at("spec.template.spec.tolerations[0]"),
    Example::new("a person tolerates the control plane's taint")
        .creates(
            Object::Job,
            "spec: {template: {spec: {tolerations: [
                {key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]}}}",
        )
        .denied_at("spec.template.spec.tolerations[0]"),
];
