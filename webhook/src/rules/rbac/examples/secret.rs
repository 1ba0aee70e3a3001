//! Examples of the rule about Secrets that hold tokens.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

const TOKEN: &str = "
    metadata: {annotations: {kubernetes.io/service-account.name: default}}
    type: kubernetes.io/service-account-token";

pub(in crate::rules::rbac) const SECRET001: &[Example] = &[
    Example::new("a person creates another Secret").creates(Object::Secret, ""),
    Example::new("an agent creates a Secret for a token without an expiry")
        .by(Agent)
        .creates(Object::Secret, TOKEN)
        .denied_at("type"),
    Example::new("the platform creates a Secret for a token")
        .by(Worker)
        .creates(Object::Secret, TOKEN)
        .denied_at("type"),
];
