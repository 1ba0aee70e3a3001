//! Examples of the rules about the names of new run namespaces.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS016: &[Example] = &[
    Example::new("a person uses a name with a reserved prefix").creates(
        Object::NewNamespace,
        "metadata: {name: codex-run-payroll, labels: {codex-k8s.dev/run-id: r1}}",
    ),
    Example::new("a person sets a run label on a namespace with another name")
        .creates(Object::NewNamespace, "metadata: {name: payroll, labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at("metadata.name"),
    Example::new("the platform sets a run label on a namespace with another name")
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {name: payroll, labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at("metadata.name"),
];

pub(in crate::rules::namespace) const NS017: &[Example] = &[
    Example::new("the platform creates a slot").by(Worker).creates(Object::BareSlot, ""),
    Example::new("a person creates a slot").creates(Object::BareSlot, "").denied_at("metadata.name"),
    Example::new("an agent creates a slot")
        .by(Agent)
        .creates(Object::BareSlot, "")
        .denied_at("metadata.name"),
];
