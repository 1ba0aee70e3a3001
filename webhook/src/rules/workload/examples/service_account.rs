//! Examples of the rules about the ServiceAccount and the tokens of a workload.

use crate::rules::example::Setting::{CodeOnly, Slot};
use crate::rules::example::User::{Agent, JobController};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB004: &[Example] = &[
    Example::new("a person creates a Job without a ServiceAccount")
        .creates(Object::Job, "")
        .mutated(&[("/spec/template/spec/serviceAccountName", "codex-runner")]),
    Example::new(
        "a person creates a Pod, and the policy does not list the ServiceAccount that the API server adds",
    )
    .under("jobs: {serviceAccounts: {fullEnv: [codex-runner], codeOnly: [default]}}")
    .creates(
        Object::Pod,
        "{metadata: {managedFields: [{fieldsV1: {'f:spec': {'f:containers': {}}}}]},
            spec: {serviceAccountName: default, serviceAccount: default}}",
    )
    .mutated(&[("/spec/serviceAccountName", "codex-runner"), ("/spec/serviceAccount", "codex-runner")]),
    Example::new("a person uses the read-only profile")
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-runner-readonly}}}"),
    Example::new("an agent creates a Job in a slot that runs as the platform's worker")
        .within(Slot)
        .by(Agent)
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-k8s-worker}}}")
        .denied_at("spec.template.spec.serviceAccountName"),
    Example::new("a person creates a code-only Job with the ServiceAccount of an agent")
        .within(CodeOnly)
        .creates(Object::Job, "spec: {template: {spec: {serviceAccountName: codex-runner}}}")
        .denied_at("spec.template.spec.serviceAccountName"),
    Example::new("a controller creates a Pod with another ServiceAccount")
        .by(JobController)
        .creates(Object::Pod, "spec: {serviceAccountName: builder}")
        .denied_at("spec.serviceAccountName"),
];

pub(in crate::rules::workload) const JOB005: &[Example] = &[
    Example::new("a person creates a Job that does not say if it needs the token")
        .within(CodeOnly)
        .creates(Object::Job, "")
        .mutated(&[("/spec/template/spec/automountServiceAccountToken", "false")]),
    Example::new("a person creates a Job with a token")
        .creates(Object::Job, "spec: {template: {spec: {automountServiceAccountToken: true}}}"),
    Example::new("a person creates a Job that requests the token")
        .within(CodeOnly)
        .creates(Object::Job, "spec: {template: {spec: {automountServiceAccountToken: true}}}")
        .denied_at("spec.template.spec.automountServiceAccountToken"),
    Example::new("a person creates a Job that mounts a token itself")
        .within(CodeOnly)
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken"),
];

pub(in crate::rules::workload) const JOB006: &[Example] = &[
    Example::new("a person mounts a token for this API server, for an hour").creates(
        Object::Job,
        "spec: {template: {spec: {volumes: [
            {name: token, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}]}}}",
    ),
    Example::new("a Pod of a Job has a token that a cloud's identity webhook has added")
        .by(JobController)
        .under("tokens: {audiences: {sts.amazonaws.com: 86400}}")
        .creates(
            Object::Pod,
            "spec: {serviceAccountName: codex-runner, volumes: [{name: aws-iam-token, projected: {sources: [
                {serviceAccountToken: {path: token, audience: sts.amazonaws.com, expirationSeconds: 86400}}]}}]}",
        ),
    Example::new("a person mounts a token for an audience of the policy, for longer than it allows")
        .under("tokens: {audiences: {sts.amazonaws.com: 7200}}")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [{name: token, projected: {sources: [
                {serviceAccountToken: {path: token, audience: sts.amazonaws.com, expirationSeconds: 86400}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"),
    Example::new("a person mounts a token for another audience")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: vault}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.audience"),
    Example::new("a person mounts a token for a day")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [
                {name: token, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 86400}}]}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"),
];
