//! Examples of the rules about where a workload runs.

use crate::rules::example::User::{Agent, JobController};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB012: &[Example] = &[
    Example::new("a nodeSelector leaves the choice to the scheduler")
        .creates(Object::Job, "spec: {template: {spec: {nodeSelector: {disk: ssd}}}}"),
    Example::new("a Job that names its node")
        .creates(Object::Job, "spec: {template: {spec: {nodeName: node-1}}}")
        .denied_at("spec.template.spec.nodeName"),
    Example::new("an agent binds a Pod to a node by itself")
        .by(Agent)
        .creates(Object::Binding, "")
        .on("binding")
        .denied_at("target.name"),
    Example::new("a controller of the cluster makes a Pod for one node")
        .by(JobController)
        .creates(Object::Pod, "spec: {serviceAccountName: codex-runner, nodeName: node-1}"),
];

pub(in crate::rules::workload) const JOB013: &[Example] = &[
    Example::new("a priority class that the policy lists")
        .under("jobs: {priorityClasses: [batch]}")
        .creates(Object::Job, "spec: {template: {spec: {priorityClassName: batch}}}"),
    Example::new("a priority class that evicts the platform")
        .creates(Object::Job, "spec: {template: {spec: {priorityClassName: system-node-critical}}}")
        .denied_at("spec.template.spec.priorityClassName"),
];

pub(in crate::rules::workload) const JOB014: &[Example] = &[
    Example::new("the scheduler of Kubernetes")
        .creates(Object::Job, "spec: {template: {spec: {schedulerName: default-scheduler}}}"),
    Example::new("a scheduler that the policy does not list")
        .creates(Object::Job, "spec: {template: {spec: {schedulerName: mine}}}")
        .denied_at("spec.template.spec.schedulerName"),
];

pub(in crate::rules::workload) const JOB015: &[Example] = &[
    Example::new("a runtime class that the policy lists")
        .under("jobs: {runtimeClasses: [gvisor]}")
        .creates(Object::Job, "spec: {template: {spec: {runtimeClassName: gvisor}}}"),
    Example::new("a runtime class that the policy does not list")
        .creates(Object::Job, "spec: {template: {spec: {runtimeClassName: unconfined}}}")
        .denied_at("spec.template.spec.runtimeClassName"),
];

pub(in crate::rules::workload) const JOB016: &[Example] = &[
    Example::new("a toleration that the API server adds to every Pod").creates(
        Object::Job,
        "spec: {template: {spec: {tolerations: [
            {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}]}}}",
    ),
    Example::new("a toleration of every taint")
        .creates(Object::Job, "spec: {template: {spec: {tolerations: [{operator: Exists}]}}}")
        .denied_at("spec.template.spec.tolerations[0]"),
    Example::new("a toleration of the control plane's taint")
        .creates(
            Object::Job,
            "spec: {template: {spec: {tolerations: [
                {key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]}}}",
        )
        .denied_at("spec.template.spec.tolerations[0]"),
];
