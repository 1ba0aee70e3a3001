//! Examples of the rules about the ServiceAccount and the tokens of a workload.

use crate::rules::example::Setting::{CodeOnly, Slot};
use crate::rules::example::User::{Agent, JobController};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB004: &[Example] = &[
    Example::new("a Job that names no ServiceAccount runs as the agent's")
        .creates(Object::Job, "")
        .mutated(&[("/spec/template/spec/serviceAccountName", "codex-runner")]),
    Example::new("the read-only profile")
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-runner-readonly}}}"),
    Example::new("a Job in a slot runs as the platform's worker")
        .within(Slot)
        .by(Agent)
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-k8s-worker}}}")
        .denied_at("spec.template.spec.serviceAccountName"),
    Example::new("a code-only Job does not run as the ServiceAccount of an agent")
        .within(CodeOnly)
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-runner}}}")
        .denied_at("spec.template.spec.serviceAccountName"),
    Example::new("a Pod that a controller makes is checked as well")
        .by(JobController)
        .creates(Object::Pod, "spec: {serviceAccountName: builder}")
        .denied_at("spec.serviceAccountName"),
];

pub(in crate::rules::workload) const JOB005: &[Example] = &[
    Example::new("the token is left out of a code-only Job")
        .within(CodeOnly)
        .creates(Object::Job, "")
        .mutated(&[("/spec/template/spec/automountServiceAccountToken", "false")]),
    Example::new("a Job with access to Kubernetes has its token")
        .creates(Object::Job, "spec: {template: {spec: {automountServiceAccountToken: true}}}"),
    Example::new("a code-only Job asks for the token")
        .within(CodeOnly)
        .creates(Object::Job, "spec: {template: {spec: {automountServiceAccountToken: true}}}")
        .denied_at("spec.template.spec.automountServiceAccountToken"),
    Example::new("a code-only Job mounts a token by itself")
        .within(CodeOnly)
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken"),
];

pub(in crate::rules::workload) const JOB006: &[Example] = &[
    Example::new("a token for this API server that lives for an hour").creates(
        Object::Job,
        "spec: {template: {spec: {volumes: [
            {name: token, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}]}}}",
    ),
    Example::new("a token for another audience")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: vault}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.audience"),
    Example::new("a token that lives for a day")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 86400}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"),
];
