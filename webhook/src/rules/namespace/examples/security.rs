//! Examples of the rule about Pod Security levels.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS014: &[Example] = &[
    Example::new("a person creates a namespace without levels").creates(Object::NewNamespace, "").mutated(&[
        ("/metadata/labels/pod-security.kubernetes.io~1enforce", "baseline"),
        ("/metadata/labels/pod-security.kubernetes.io~1audit", "restricted"),
    ]),
    Example::new("a person chooses a stricter level").creates(
        Object::NewNamespace,
        "metadata: {labels: {pod-security.kubernetes.io/enforce: restricted}}",
    ),
    Example::new("a person chooses the level that allows everything")
        .creates(Object::NewNamespace, "metadata: {labels: {pod-security.kubernetes.io/enforce: privileged}}")
        .denied_at(r#"metadata.labels["pod-security.kubernetes.io/enforce"]"#),
    Example::new("the platform lowers a level")
        .by(Worker)
        .updates(
            Object::RunNamespace,
            "metadata: {labels: {pod-security.kubernetes.io/enforce: restricted}}",
            "metadata: {labels: {pod-security.kubernetes.io/enforce: baseline}}",
        )
        .denied_at(r#"metadata.labels["pod-security.kubernetes.io/enforce"]"#),
];
