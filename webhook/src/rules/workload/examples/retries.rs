//! Examples of the rule about the retries of a Job.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB009: &[Example] = &[
    Example::new("a person creates a Job without a retry limit, for which the API server writes 6")
        .creates(Object::Job, "spec: {backoffLimit: 6}")
        .mutated(&[("/spec/backoffLimit", "0")]),
    Example::new("a person creates a CronJob without a retry limit")
        .creates(Object::CronJob, "")
        .mutated(&[("/spec/jobTemplate/spec/backoffLimit", "0")]),
    Example::new("a person chooses a few retries").creates(Object::Job, "spec: {backoffLimit: 5}"),
    Example::new("a person chooses a hundred retries")
        .creates(Object::Job, "spec: {backoffLimit: 100}")
        .denied_at("spec.backoffLimit"),
    Example::new(
        "a person chooses a retry for each index, for which the API server writes the largest limit",
    )
    .creates(
        Object::Job,
        "spec: {completionMode: Indexed, completions: 2, backoffLimit: 2147483647, backoffLimitPerIndex: 1}",
    ),
    Example::new("an agent chooses too many retries for each index")
        .by(Agent)
        .creates(Object::Job, "spec: {completionMode: Indexed, completions: 4, backoffLimitPerIndex: 2}")
        .denied_at("spec.backoffLimitPerIndex"),
    Example::new("a person does not count failures by a disruption").creates(
        Object::Job,
        "spec: {backoffLimit: 1, podFailurePolicy: {rules: [
            {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}]}}",
    ),
    Example::new("a person does not count failures with any exit code")
        .creates(
            Object::Job,
            "spec: {backoffLimit: 1, podFailurePolicy: {rules: [
                {action: Ignore, onExitCodes: {operator: NotIn, values: [0]}}]}}",
        )
        .denied_at("spec.podFailurePolicy.rules[0].action"),
    Example::new("a person adds a sidecar").creates(
        Object::Job,
        "spec: {backoffLimit: 1, template: {spec: {initContainers: [
            {name: proxy, image: 'busybox:1.36', restartPolicy: Always}]}}}",
    ),
    Example::new("the platform lets a container restart without end")
        .by(Worker)
        .creates(
            Object::Job,
            "spec: {backoffLimit: 0, template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', restartPolicy: Always}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].restartPolicy"),
    Example::new("an agent lets a container restart after an exit code")
        .by(Agent)
        .creates(
            Object::Job,
            "spec: {backoffLimit: 0, template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', restartPolicy: Never, restartPolicyRules: [
                    {action: Restart, exitCodes: {operator: In, values: [1]}}]}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].restartPolicyRules[0].action"),
];
