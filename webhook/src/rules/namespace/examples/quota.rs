//! Examples of the rule about the number of run namespaces.

use crate::rules::example::Setting::LimitReached;
use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const QUOTA003: &[Example] = &[
    Example::new("there is room").creates(Object::NewNamespace, ""),
    Example::new("one namespace more than the limit")
        .within(LimitReached)
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("the limit binds the platform as well")
        .within(LimitReached)
        .by(Worker)
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("what exists can still be changed").within(LimitReached).updates(
        Object::RunNamespace,
        "",
        "metadata: {annotations: {example.com/note: seen}}",
    ),
];
