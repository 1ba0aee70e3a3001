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
    Example::new("a person creates a Pod, to which the API server has added the cluster's default class")
        .creates(
            Object::Pod,
            "{metadata: {managedFields: [{fieldsV1: {'f:spec': {'f:containers': {}}}}]},
        spec: {priorityClassName: usual, priority: 1000}}",
        ),
    Example::new("a person creates a Pod with a priority class that the policy does not list")
        .creates(
            Object::Pod,
            "{metadata: {managedFields: [{fieldsV1: {'f:spec': {'f:priorityClassName': {}}}}]},
            spec: {priorityClassName: usual}}",
        )
        .denied_at("spec.priorityClassName"),
    Example::new("a person uses a priority class that evicts the platform's Pods")
        .creates(Object::Job, "spec: {template: {spec: {priorityClassName: system-node-critical}}}")
        .denied_at("spec.template.spec.priorityClassName"),
];

pub(in crate::rules::workload) const JOB014: &[Example] = &[
    Example::new("a person uses the default scheduler")
        .creates(Object::Job, "spec: {template: {spec: {schedulerName: default-scheduler}}}"),
    Example::new(
        "a person names no scheduler, and the policy does not list the one that the API server writes",
    )
    .under("jobs: {schedulers: [volcano]}")
    .creates(Object::Job, "spec: {template: {spec: {schedulerName: default-scheduler}}}")
    .mutated(&[("/spec/template/spec/schedulerName", "volcano")]),
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
    Example::new("a person creates a Pod, to which the API server has added a toleration").creates(
        Object::Pod,
        "{metadata: {managedFields: [{fieldsV1: {'f:spec': {'f:containers': {}}}}]},
        spec: {tolerations: [{key: sandboxed, operator: Exists, effect: NoSchedule}]}}",
    ),
    Example::new("a person creates a Pod with a toleration")
        .creates(
            Object::Pod,
            "{metadata: {managedFields: [{fieldsV1: {'f:spec': {'f:tolerations': {}}}}]},
            spec: {tolerations: [{key: sandboxed, operator: Exists, effect: NoSchedule}]}}",
        )
        .denied_at("spec.tolerations[0]"),
    Example::new("a person tolerates the taint of nodes with a device that the Job requests").creates(
        Object::Job,
        "spec: {template: {spec: {
            tolerations: [{key: example.com/device, operator: Exists, effect: NoSchedule}],
            containers: [{name: tests, image: 'busybox:1.36', resources: {
                limits: {example.com/device: '1'}, requests: {example.com/device: '1'}}}]}}}",
    ),
    Example::new("a person tolerates the taint of nodes with a device, and requests none of it")
        .creates(
            Object::Job,
            "spec: {template: {spec: {
                tolerations: [{key: example.com/device, operator: Exists, effect: NoSchedule}],
                containers: [{name: tests, image: 'busybox:1.36', resources: {
                    limits: {example.com/device: '0'}, requests: {example.com/device: '0'}}}]}}}",
        )
        .denied_at("spec.template.spec.tolerations[0]"),
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
