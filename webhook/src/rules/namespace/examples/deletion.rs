//! Examples of the rule about the deletion of a run namespace.

use crate::rules::example::User::{Collector, Worker};
use crate::rules::example::{Example, Object};

const EXPIRED: &str = "metadata: {creationTimestamp: 2026-01-31T11:00:00Z, annotations: {
    codex-k8s.dev/namespace-lease-updated-at: 2026-01-31T11:00:00Z,
    codex-k8s.dev/namespace-lease-expires-at: 2026-02-01T11:00:00Z}}";

pub(in crate::rules::namespace) const NS015: &[Example] = &[
    Example::new("the platform cancels a run").by(Worker).deletes(Object::RunNamespace, ""),
    Example::new("a person deletes a namespace before its lease ends")
        .deletes(Object::RunNamespace, "")
        .denied_at(r#"metadata.annotations["codex-k8s.dev/namespace-lease-expires-at"]"#),
    Example::new("the garbage collector deletes a namespace before its lease ends")
        .by(Collector)
        .deletes(Object::RunNamespace, "")
        .denied_at(r#"metadata.annotations["codex-k8s.dev/namespace-lease-expires-at"]"#),
    Example::new("the garbage collector deletes a namespace whose lease has ended")
        .by(Collector)
        .deletes(Object::RunNamespace, EXPIRED),
    Example::new("the garbage collector deletes a namespace with a hold")
        .by(Collector)
        .deletes(
            Object::RunNamespace,
            "metadata: {creationTimestamp: 2026-01-31T11:00:00Z, annotations: {
                codex-k8s.dev/namespace-lease-updated-at: 2026-01-31T11:00:00Z,
                codex-k8s.dev/namespace-lease-expires-at: 2026-02-01T11:00:00Z,
                codex-k8s.dev/hold: 2026-02-02T12:00:00Z looking into the failed migration}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/hold"]"#),
];
