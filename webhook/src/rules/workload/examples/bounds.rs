//! Examples of the rules about how long a Job runs, how often it is tried and how wide it is.

use crate::rules::example::User::{Agent, JobController, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB007: &[Example] = &[
    Example::new("a Job without a deadline gets the default one")
        .creates(Object::Job, "")
        .mutated(&[("/spec/activeDeadlineSeconds", "900")]),
    Example::new("a deadline within the bound is kept")
        .by(Worker)
        .creates(Object::Job, "spec: {activeDeadlineSeconds: 18000}"),
    Example::new("a deadline of a day is longer than the bound")
        .creates(Object::Job, "spec: {activeDeadlineSeconds: 86400}")
        .denied_at("spec.activeDeadlineSeconds"),
    Example::new("the Jobs of a CronJob have the same bound")
        .creates(Object::CronJob, "spec: {jobTemplate: {spec: {activeDeadlineSeconds: 86400}}}")
        .denied_at("spec.jobTemplate.spec.activeDeadlineSeconds"),
];

pub(in crate::rules::workload) const JOB008: &[Example] = &[
    Example::new("a Job without a time to live gets the default one")
        .creates(Object::Job, "")
        .mutated(&[("/spec/ttlSecondsAfterFinished", "600")]),
    Example::new("a finished Job is removed at once")
        .by(Agent)
        .creates(Object::Job, "spec: {ttlSecondsAfterFinished: 0}"),
    Example::new("a finished Job would stay for a week")
        .creates(Object::Job, "spec: {ttlSecondsAfterFinished: 604800}")
        .denied_at("spec.ttlSecondsAfterFinished"),
];

pub(in crate::rules::workload) const JOB009: &[Example] = &[
    Example::new("a Job is not retried by default")
        .creates(Object::Job, "")
        .mutated(&[("/spec/backoffLimit", "0")]),
    Example::new("a few retries are allowed").creates(Object::Job, "spec: {backoffLimit: 6}"),
    Example::new("a Job with a hundred retries")
        .creates(Object::Job, "spec: {backoffLimit: 100}")
        .denied_at("spec.backoffLimit"),
    Example::new("the retries of each index are bounded as well")
        .by(Agent)
        .creates(Object::Job, "spec: {completionMode: Indexed, completions: 2, backoffLimitPerIndex: 7}")
        .denied_at("spec.backoffLimitPerIndex"),
];

pub(in crate::rules::workload) const JOB010: &[Example] = &[
    Example::new("four Pods at a time are allowed")
        .creates(Object::Job, "spec: {parallelism: 4, completions: 16}"),
    Example::new("a Job of five Pods at a time")
        .creates(Object::Job, "spec: {parallelism: 5, completions: 16}")
        .denied_at("spec.parallelism"),
    Example::new("a Job of a hundred Pods, one after the other")
        .creates(Object::Job, "spec: {completions: 100}")
        .denied_at("spec.completions"),
    Example::new("the platform is bound by the limit as well")
        .by(Worker)
        .creates(Object::Job, "spec: {completions: 100}")
        .denied_at("spec.completions"),
    Example::new("an older Job that is too wide can still be changed").updates(
        Object::Job,
        "spec: {completions: 100}",
        "metadata: {annotations: {example.com/note: seen}}",
    ),
];

pub(in crate::rules::workload) const JOB011: &[Example] = &[
    Example::new("the cluster's own controller may be named")
        .creates(Object::Job, "spec: {managedBy: kubernetes.io/job-controller}"),
    Example::new("another controller would not end the Job at its deadline")
        .creates(Object::Job, "spec: {managedBy: example.com/controller}")
        .denied_at("spec.managedBy"),
    Example::new("the Jobs of an admitted CronJob are checked as well")
        .by(JobController)
        .creates(Object::Job, "spec: {managedBy: example.com/controller}")
        .denied_at("spec.managedBy"),
];
