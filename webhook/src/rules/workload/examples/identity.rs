//! Examples of the rules about the run that a workload belongs to.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB001: &[Example] = &[
    Example::new("a Job gets the identity of its namespace").creates(Object::Job, "").mutated(&[
        ("/metadata/labels/codex-k8s.dev~1run-id", "r1"),
        ("/metadata/labels/codex-k8s.dev~1project-id", "p1"),
        ("/spec/template/metadata/labels/codex-k8s.dev~1run-id", "r1"),
    ]),
    Example::new("the run id of the namespace may be written out")
        .creates(Object::Job, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
    Example::new("the Pods of a Job claim another run")
        .by(Agent)
        .creates(Object::Job, "spec: {template: {metadata: {labels: {codex-k8s.dev/run-id: r2}}}}")
        .denied_at(r#"spec.template.metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("the Pods of a Deployment claim another run")
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
    Example::new("a Job has the name of another run")
        .creates(Object::Job, "metadata: {name: codex-k8s-run-r2}")
        .denied_at("metadata.name"),
    Example::new("a Job has the application label of a run and a name of its own")
        .creates(Object::Job, "metadata: {labels: {app.kubernetes.io/name: codex-k8s-run}}")
        .denied_at(r#"metadata.labels["app.kubernetes.io/name"]"#),
];

pub(in crate::rules::workload) const JOB003: &[Example] = &[
    Example::new("a finalizer of Kubernetes").creates(Object::Job, "metadata: {finalizers: [orphan]}"),
    Example::new("a finalizer that nothing removes")
        .creates(Object::Job, "metadata: {finalizers: [example.com/keep]}")
        .denied_at("metadata.finalizers"),
    Example::new("a finalizer that the policy lists")
        .under("jobs: {finalizers: [example.com/keep]}")
        .creates(Object::Job, "metadata: {finalizers: [example.com/keep]}"),
];
