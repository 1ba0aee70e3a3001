//! Examples of the rules about a Job's deadline, removal, retries, width and controller.

use crate::rules::example::User::{Agent, JobController, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB007: &[Example] = &[
    Example::new("a person creates a Job without a deadline")
        .creates(Object::Job, "")
        .mutated(&[("/spec/activeDeadlineSeconds", "900")]),
    Example::new("the platform chooses a deadline within the limit")
        .by(Worker)
        .creates(Object::Job, "spec: {activeDeadlineSeconds: 18000}"),
    Example::new("a person chooses a deadline of a day, which is too long")
        .creates(Object::Job, "spec: {activeDeadlineSeconds: 86400}")
        .denied_at("spec.activeDeadlineSeconds"),
    Example::new("a person creates a CronJob whose Jobs have a deadline that is too long")
        .creates(Object::CronJob, "spec: {jobTemplate: {spec: {activeDeadlineSeconds: 86400}}}")
        .denied_at("spec.jobTemplate.spec.activeDeadlineSeconds"),
];

pub(in crate::rules::workload) const JOB008: &[Example] = &[
    Example::new("a person creates a Job without a ttl")
        .creates(Object::Job, "")
        .mutated(&[("/spec/ttlSecondsAfterFinished", "600")]),
    Example::new("an agent has its finished Job removed immediately")
        .by(Agent)
        .creates(Object::Job, "spec: {ttlSecondsAfterFinished: 0}"),
    Example::new("a person keeps a finished Job for a week")
        .creates(Object::Job, "spec: {ttlSecondsAfterFinished: 604800}")
        .denied_at("spec.ttlSecondsAfterFinished"),
];

pub(in crate::rules::workload) const JOB009: &[Example] = &[
    Example::new("a person creates a Job without a retry limit")
        .creates(Object::Job, "")
        .mutated(&[("/spec/backoffLimit", "0")]),
    Example::new("a person chooses a few retries").creates(Object::Job, "spec: {backoffLimit: 6}"),
    Example::new("a person chooses a hundred retries")
        .creates(Object::Job, "spec: {backoffLimit: 100}")
        .denied_at("spec.backoffLimit"),
    Example::new("an agent chooses too many retries for each index")
        .by(Agent)
        .creates(Object::Job, "spec: {completionMode: Indexed, completions: 2, backoffLimitPerIndex: 7}")
        .denied_at("spec.backoffLimitPerIndex"),
];

pub(in crate::rules::workload) const JOB010: &[Example] = &[
    Example::new("a person creates a Job of four Pods at a time")
        .creates(Object::Job, "spec: {parallelism: 4, completions: 16}"),
    Example::new("a person creates a Job of five Pods at a time")
        .creates(Object::Job, "spec: {parallelism: 5, completions: 16}")
        .denied_at("spec.parallelism"),
    Example::new("a person creates a Job of a hundred Pods, one after the other")
        .creates(Object::Job, "spec: {completions: 100}")
        .denied_at("spec.completions"),
    Example::new("the platform exceeds the limit")
        .by(Worker)
        .creates(Object::Job, "spec: {completions: 100}")
        .denied_at("spec.completions"),
    Example::new("a person updates an older Job that is too wide").updates(
        Object::Job,
        "spec: {completions: 100}",
        "metadata: {annotations: {example.com/note: seen}}",
    ),
];

pub(in crate::rules::workload) const JOB011: &[Example] = &[
    Example::new("a person names the cluster's own controller")
        .creates(Object::Job, "spec: {managedBy: kubernetes.io/job-controller}"),
    Example::new("a person names another controller, which would ignore the deadline")
        .creates(Object::Job, "spec: {managedBy: example.com/controller}")
        .denied_at("spec.managedBy"),
    Example::new("the CronJob controller creates a Job of an admitted CronJob")
        .by(JobController)
        .creates(Object::Job, "spec: {managedBy: example.com/controller}")
        .denied_at("spec.managedBy"),
];
