//! Examples of the rule about what a Role grants.

use crate::rules::example::Setting::{CodeOnly, Slot};
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

const SECRETS: &str = "rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]";

pub(in crate::rules::guard) const RBAC001: &[Example] = &[
    Example::new("what the profiles grant").creates(Object::Role, ""),
    Example::new("an agent grants itself the Secrets of its namespace")
        .by(Agent)
        .creates(Object::Role, SECRETS)
        .denied_at("rules[0]"),
    Example::new("a wildcard grants more than the profiles do")
        .updates(Object::Role, "", "rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]")
        .denied_at("rules[0]"),
    Example::new("a Role in a namespace without access grants nothing")
        .within(CodeOnly)
        .creates(Object::Role, "")
        .denied_at("rules[0]"),
    Example::new("a Role without rules").within(CodeOnly).creates(Object::Role, "rules: []"),
    Example::new("the platform's own stack in a slot").within(Slot).by(Worker).creates(Object::Role, SECRETS),
];
