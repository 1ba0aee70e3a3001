//! Examples of the rules about becoming managed and ceasing to be managed.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS006: &[Example] = &[
    Example::new("the platform labels a slot").by(Worker).updates(
        Object::BareSlot,
        "",
        "metadata: {labels: {codex-k8s.dev/managed-by: codex-k8s-worker}}",
    ),
    Example::new("a person labels an existing namespace")
        .updates(Object::OtherNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("the platform labels an existing namespace")
        .by(Worker)
        .updates(Object::OtherNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("a person labels a slot")
        .updates(Object::BareSlot, "", "metadata: {labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
];

pub(in crate::rules::namespace) const NS007: &[Example] = &[
    Example::new("a person removes a label of another domain").updates(
        Object::RunNamespace,
        "metadata: {labels: {example.com/team: shop}}",
        "metadata: {labels: {example.com/team: null}}",
    ),
    Example::new("a person removes the managed-by label")
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/managed-by: null}}")
        .mutated(&[("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker")]),
    Example::new("an agent removes the managed-by label of its namespace")
        .by(Agent)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/managed-by: null}}")
        .mutated(&[("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker")]),
    Example::new("the platform removes the managed-by label")
        .by(Worker)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/managed-by: null}}")
        .mutated(&[("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker")]),
];

pub(in crate::rules::namespace) const NS008: &[Example] = &[
    Example::new("a person creates a namespace whose name is not protected")
        .creates(Object::NewNamespace, ""),
    Example::new("the platform labels a namespace of the cluster")
        .by(Worker)
        .updates(
            Object::OtherNamespace,
            "metadata: {name: kube-system}",
            "metadata: {labels: {codex-k8s.dev/run-id: r1}}",
        )
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("a person removes a label that is older than the protection").updates(
        Object::OtherNamespace,
        "metadata: {name: kube-system, labels: {codex-k8s.dev/run-id: r1}}",
        "metadata: {labels: {codex-k8s.dev/run-id: null}}",
    ),
];
