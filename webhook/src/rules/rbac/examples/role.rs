//! Examples of the rule about the rights in a Role.

use crate::rules::example::Setting::{CodeOnly, Slot};
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

const SECRETS: &str = "rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]";

pub(in crate::rules::rbac) const RBAC001: &[Example] = &[
    Example::new("a person creates a Role with rights of the profiles").creates(Object::Role, ""),
    Example::new("an agent grants itself the Secrets of its namespace")
        .by(Agent)
        .creates(Object::Role, SECRETS)
        .denied_at("rules[0]"),
    Example::new("a person uses a wildcard, which grants more than the profiles")
        .updates(Object::Role, "", "rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]")
        .denied_at("rules[0]"),
    Example::new("a person grants rights in a namespace without an access profile")
        .within(CodeOnly)
        .creates(Object::Role, "")
        .denied_at("rules[0]"),
    Example::new("a person creates a Role without rules").within(CodeOnly).creates(Object::Role, "rules: []"),
    Example::new("the platform creates a Role for its own stack in a slot")
        .within(Slot)
        .by(Worker)
        .creates(Object::Role, SECRETS),
];
