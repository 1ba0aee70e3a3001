//! Examples of the rules about the run of a workload.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB001: &[Example] = &[
    Example::new("a person creates a Job without identity labels").creates(Object::Job, "").mutated(&[
        ("/metadata/labels/codex-k8s.dev~1run-id", "r1"),
        ("/metadata/labels/codex-k8s.dev~1project-id", "p1"),
        ("/spec/template/metadata/labels/codex-k8s.dev~1run-id", "r1"),
    ]),
    Example::new("a person sets the run id of the namespace")
        .creates(Object::Job, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
    Example::new("an agent labels the Pods of a Job with another run")
        .by(Agent)
        .creates(Object::Job, "spec: {template: {metadata: {labels: {codex-k8s.dev/run-id: r2}}}}")
        .denied_at(r#"spec.template.metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("a person labels the Pods of a Deployment with another run")
        .creates(Object::Deployment, "spec: {template: {metadata: {labels: {codex-k8s.dev/run-id: r2}}}}")
        .denied_at(r#"spec.template.metadata.labels["codex-k8s.dev/run-id"]"#),
];

pub(in crate::rules::workload) const JOB002: &[Example] = &[
    Example::new("the platform creates the Job of the run").by(Worker).creates(
        Object::Job,
        "metadata: {name: codex-k8s-run-r1, labels: {app.kubernetes.io/name: codex-k8s-run}}",
    ),
    Example::new("an agent creates the Job of its own run")
        .by(Agent)
        .creates(Object::Job, "metadata: {name: codex-k8s-run-r1}")
        .denied_at("metadata.name"),
    Example::new("a person gives a Job the name of another run")
        .creates(Object::Job, "metadata: {name: codex-k8s-run-r2}")
        .denied_at("metadata.name"),
    Example::new("a person gives a Job the application label of a run and another name")
        .creates(Object::Job, "metadata: {labels: {app.kubernetes.io/name: codex-k8s-run}}")
        .denied_at(r#"metadata.labels["app.kubernetes.io/name"]"#),
];

pub(in crate::rules::workload) const JOB003: &[Example] = &[
    Example::new("a person sets a finalizer of Kubernetes")
        .creates(Object::Job, "metadata: {finalizers: [orphan]}"),
    Example::new("a person sets a finalizer that no program removes")
        .creates(Object::Job, "metadata: {finalizers: [example.com/keep]}")
        .denied_at("metadata.finalizers"),
    Example::new("a person sets a finalizer that the policy lists")
        .under("jobs: {finalizers: [example.com/keep]}")
        .creates(Object::Job, "metadata: {finalizers: [example.com/keep]}"),
];
