//! Examples of the rules about a Job's width and controller.

use crate::rules::example::User::{JobController, Worker};
use crate::rules::example::{Example, Object};

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
