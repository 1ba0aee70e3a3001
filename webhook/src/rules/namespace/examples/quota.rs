//! Examples of the rule about the number of run namespaces.

use crate::rules::example::Setting::LimitReached;
use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const QUOTA003: &[Example] = &[
    Example::new("a person creates a namespace below the limit").creates(Object::NewNamespace, ""),
    Example::new("a person creates a namespace beyond the limit")
        .within(LimitReached)
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("the platform creates a namespace beyond the limit")
        .within(LimitReached)
        .by(Worker)
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("a person updates an existing namespace at the limit").within(LimitReached).updates(
        Object::RunNamespace,
        "",
        "metadata: {annotations: {example.com/note: seen}}",
    ),
];
