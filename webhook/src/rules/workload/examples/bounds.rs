//! Examples of the rules about a Job's deadline and removal.

use crate::rules::example::User::{Agent, Worker};
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
    Example::new("a person creates a Job with a name of its own, which stays as long as its namespace")
        .creates(Object::Job, ""),
    Example::new("a person creates a Job with a generated name and without a ttl")
        .creates(Object::Job, "metadata: {name: null, generateName: unit-tests-}")
        .mutated(&[("/spec/ttlSecondsAfterFinished", "600")]),
    Example::new("a person creates a CronJob whose Jobs have no ttl")
        .creates(Object::CronJob, "")
        .mutated(&[("/spec/jobTemplate/spec/ttlSecondsAfterFinished", "600")]),
    Example::new("an agent has its finished Job removed immediately").by(Agent).creates(
        Object::Job,
        "{metadata: {name: null, generateName: unit-tests-}, spec: {ttlSecondsAfterFinished: 0}}",
    ),
    Example::new("a person keeps finished Jobs with generated names for a week")
        .creates(
            Object::Job,
            "{metadata: {name: null, generateName: unit-tests-}, spec: {ttlSecondsAfterFinished: 604800}}",
        )
        .denied_at("spec.ttlSecondsAfterFinished"),
];
