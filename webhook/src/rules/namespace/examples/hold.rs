//! Examples of the rules about holds.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

const PATH: &str = r#"metadata.annotations["codex-k8s.dev/hold"]"#;
const FOR_A_WEEK: &str =
    "metadata: {annotations: {codex-k8s.dev/hold: 2026-02-08T12:00:00Z looking into the failed migration}}";

pub(in crate::rules::namespace) const LEASE007: &[Example] = &[
    Example::new("a person sets a hold of a week with a reason").updates(
        Object::RunNamespace,
        "",
        FOR_A_WEEK,
    ),
    Example::new("a person sets a hold without an end")
        .updates(Object::RunNamespace, "", "metadata: {annotations: {codex-k8s.dev/hold: forever}}")
        .denied_at(PATH),
    Example::new("the platform sets a hold of a month")
        .by(Worker)
        .updates(
            Object::RunNamespace,
            "",
            "metadata: {annotations: {codex-k8s.dev/hold: 2026-03-01T12:00:00Z looking into it}}",
        )
        .denied_at(PATH),
    Example::new("the platform labels a slot that already has a hold")
        .by(Worker)
        .updates(
            Object::BareSlot,
            "metadata: {annotations: {codex-k8s.dev/hold: 2026-02-02T12:00:00Z mine}}",
            "metadata: {labels: {codex-k8s.dev/managed-by: codex-k8s-worker}}",
        )
        .mutated(&[("/metadata/annotations/codex-k8s.dev~1hold", "null")]),
];

pub(in crate::rules::namespace) const LEASE008: &[Example] = &[
    Example::new("a person sets a hold on a new namespace").updates(Object::RunNamespace, "", FOR_A_WEEK),
    Example::new("a person extends a hold after a month")
        .updates(Object::RunNamespace, "metadata: {creationTimestamp: 2025-12-31T12:00:00Z}", FOR_A_WEEK)
        .denied_at(PATH),
    Example::new("the platform extends a hold after a month").by(Worker).updates(
        Object::RunNamespace,
        "metadata: {creationTimestamp: 2025-12-31T12:00:00Z}",
        FOR_A_WEEK,
    ),
];
