//! Examples of the rules about other keys, the requester, finalizers and owners of a run namespace.

use crate::rules::example::User::{Agent, Reconciler, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS009: &[Example] = &[
    Example::new("a person sets a label of another domain")
        .creates(Object::NewNamespace, "metadata: {labels: {example.com/priority: high}}"),
    Example::new("a person sets a label that the contract does not have")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/priority: high}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/priority"]"#),
    Example::new("the platform sets an annotation that the contract does not have")
        .by(Worker)
        .updates(Object::RunNamespace, "", "metadata: {annotations: {codex-k8s.dev/note: seen}}")
        .denied_at(r#"metadata.annotations["codex-k8s.dev/note"]"#),
];

pub(in crate::rules::namespace) const NS010: &[Example] = &[
    Example::new("a person creates a namespace without a requester")
        .creates(Object::NewNamespace, "")
        .mutated(&[
            ("/metadata/annotations/codex-k8s.dev~1requested-by", "jane"),
            ("/metadata/annotations/codex-k8s.dev~1correlation-id", "nightly"),
        ]),
    Example::new("a person names themselves as the requester")
        .creates(Object::NewNamespace, "metadata: {annotations: {codex-k8s.dev/requested-by: jane}}"),
    Example::new("a person names another user as the requester")
        .creates(Object::NewNamespace, "metadata: {annotations: {codex-k8s.dev/requested-by: alice}}")
        .denied_at(r#"metadata.annotations["codex-k8s.dev/requested-by"]"#),
    Example::new("the platform changes the requester later")
        .by(Worker)
        .updates(Object::RunNamespace, "", "metadata: {annotations: {codex-k8s.dev/requested-by: alice}}")
        .denied_at(r#"metadata.annotations["codex-k8s.dev/requested-by"]"#),
];

pub(in crate::rules::namespace) const NS011: &[Example] = &[
    Example::new("the reconciler opens the gate of a namespace").by(Reconciler).updates(
        Object::RunNamespace,
        "metadata: {annotations: {codex-k8s.dev/baseline-ready-at: null}}",
        "metadata: {annotations: {codex-k8s.dev/baseline-ready-at: 2026-02-01T12:00:00Z}}",
    ),
    Example::new("an agent opens the gate of its namespace")
        .by(Agent)
        .updates(
            Object::RunNamespace,
            "metadata: {annotations: {codex-k8s.dev/baseline-ready-at: null}}",
            "metadata: {annotations: {codex-k8s.dev/baseline-ready-at: 2026-02-01T12:00:00Z}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/baseline-ready-at"]"#),
    Example::new("the platform creates a namespace with an open gate")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {annotations: {codex-k8s.dev/baseline-ready-at: 2026-02-01T12:00:00Z}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/baseline-ready-at"]"#),
    Example::new("a person removes the fingerprint")
        .updates(
            Object::RunNamespace,
            "metadata: {annotations: {codex-k8s.dev/runtime-fingerprint-hash: abc}}",
            "metadata: {annotations: {codex-k8s.dev/runtime-fingerprint-hash: null}}",
        )
        .mutated(&[("/metadata/annotations/codex-k8s.dev~1runtime-fingerprint-hash", "abc")]),
    Example::new("a person changes the fingerprint")
        .updates(
            Object::RunNamespace,
            "",
            "metadata: {annotations: {codex-k8s.dev/runtime-fingerprint-hash: abc}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/runtime-fingerprint-hash"]"#),
];

pub(in crate::rules::namespace) const NS012: &[Example] = &[
    Example::new("a person sets a finalizer that the policy lists")
        .under("namespaces: {allowedFinalizers: [example.com/keep]}")
        .creates(Object::NewNamespace, "metadata: {finalizers: [example.com/keep]}"),
    Example::new("a person sets a finalizer that no program removes")
        .creates(Object::NewNamespace, "metadata: {finalizers: [example.com/keep]}")
        .denied_at("metadata.finalizers"),
    Example::new("a person sets an owner, with which the namespace would be deleted")
        .creates(
            Object::NewNamespace,
            "metadata: {ownerReferences: [
                {apiVersion: v1, kind: Node, name: node-1, uid: 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913}]}",
        )
        .denied_at("metadata.ownerReferences"),
];

pub(in crate::rules::namespace) const NS013: &[Example] = &[
    Example::new("the API server adds its own finalizer")
        .creates(Object::NewNamespace, "spec: {finalizers: [kubernetes]}"),
    Example::new("a person adds a finalizer that no program removes")
        .creates(Object::NewNamespace, "spec: {finalizers: [kubernetes, example.com/keep]}")
        .denied_at("spec.finalizers"),
    Example::new("a person finalizes the namespace without deleting its content")
        .updates(Object::RunNamespace, "", "spec: {finalizers: []}")
        .on("finalize")
        .denied_at("spec.finalizers"),
];
