//! Examples of the rule about workloads that can never fit their quota.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const QUOTA002: &[Example] = &[
    Example::new("two Pods fit the quota one after the other").creates(
        Object::Job,
        "spec: {parallelism: 2, completions: 2, template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', resources: {requests: {memory: 5Gi}, limits: {memory: 5Gi}}}]}}}",
    ),
    Example::new("a Pod is larger than the quota")
        .by(Worker)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36',
                resources: {requests: {memory: 12Gi}, limits: {memory: 12Gi}}}]}}}",
        )
        .denied_at("spec.template.spec.containers"),
    Example::new("each Pod of a Deployment is larger than the quota, with the default limits of its containers")
        .creates(
            Object::Deployment,
            "spec: {template: {spec: {initContainers: [{name: load, image: 'busybox:1.36',
                resources: {requests: {cpu: '6'}}}]}}}",
        )
        .denied_at("spec.template.spec.containers"),
    Example::new("a CronJob creates Jobs where the quota has none")
        .under("baseline: {fullEnv: {access: candidate, limitRange: null,
            resourceQuota: {name: codex-run-quota, hard: {count/jobs.batch: '0'}}}}")
        .creates(Object::CronJob, "")
        .denied_at("kind"),
];
