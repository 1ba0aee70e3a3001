//! Examples of the rules about the objects of the baseline.

use crate::rules::example::Setting::Terminating;
use crate::rules::example::User::{Agent, QuotaController, Reconciler, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::baseline) const BASE001: &[Example] = &[
    Example::new("the platform writes its own quota, and the policy's is stored")
        .by(Worker)
        .creates(Object::ResourceQuota, "spec: {hard: {pods: '2000'}}")
        .mutated(&[
            ("/spec/hard/pods", "'20'"),
            ("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker"),
            ("/metadata/annotations/codex-k8s.dev~1replaced-values", "'spec.hard.pods: \"2000\"'"),
        ]),
    Example::new("a person creates a ServiceAccount outside the baseline")
        .creates(Object::ServiceAccount, ""),
    Example::new("an agent raises its quota")
        .by(Agent)
        .updates(Object::ResourceQuota, "", "spec: {hard: {pods: '2000'}}")
        .denied_at("spec.hard.pods"),
    Example::new("a person creates an object with the name of a baseline object")
        .creates(Object::ServiceAccount, "metadata: {name: codex-runner}")
        .denied_at("metadata.name"),
    Example::new("a person creates an object with the label of the baseline")
        .creates(Object::ServiceAccount, "metadata: {labels: {codex-k8s.dev/managed-by: codex-k8s-worker}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/managed-by"]"#),
    Example::new("the reconciler restores the quota").by(Reconciler).updates(
        Object::ResourceQuota,
        "spec: {hard: {pods: '2000'}}",
        "spec: {hard: {pods: '20'}}",
    ),
];

pub(in crate::rules::baseline) const BASE002: &[Example] = &[
    Example::new("a person deletes an object outside the baseline").deletes(Object::Role, ""),
    Example::new("an agent deletes its quota")
        .by(Agent)
        .deletes(Object::ResourceQuota, "")
        .denied_at("metadata.name"),
    Example::new("the reconciler replaces the quota").by(Reconciler).deletes(Object::ResourceQuota, ""),
    Example::new("the baseline is deleted with its namespace")
        .within(Terminating)
        .deletes(Object::ResourceQuota, ""),
];

pub(in crate::rules::baseline) const BASE003: &[Example] = &[
    Example::new("the quota controller counts the Pods")
        .by(QuotaController)
        .updates(Object::ResourceQuota, "status: {used: {pods: '19'}}", "status: {used: {pods: '20'}}")
        .on("status"),
    Example::new("an agent resets the number of counted Pods")
        .by(Agent)
        .updates(Object::ResourceQuota, "status: {used: {pods: '20'}}", "status: {used: {pods: '0'}}")
        .on("status")
        .denied_at("status"),
    Example::new("the platform writes the status of a quota")
        .by(Worker)
        .updates(Object::ResourceQuota, "status: {used: {pods: '20'}}", "status: {used: {pods: '0'}}")
        .on("status")
        .denied_at("status"),
];
