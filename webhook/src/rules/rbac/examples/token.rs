//! Examples of the rules about token requests.

use crate::rules::example::Setting::{CodeOnly, Slot};
use crate::rules::example::User::{Agent, Kubelet, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::rbac) const TOKEN001: &[Example] = &[
    Example::new("an agent requests a token for this API server, for an hour")
        .by(Agent)
        .creates(Object::TokenRequest, "")
        .on("token"),
    Example::new("an agent requests a token for another audience")
        .by(Agent)
        .creates(Object::TokenRequest, "spec: {audiences: [vault]}")
        .on("token")
        .denied_at("spec.audiences[0]"),
    Example::new("an agent requests a token for an audience that the policy lists, for a day")
        .by(Agent)
        .under("tokens: {audiences: {vault: 86400}}")
        .creates(Object::TokenRequest, "spec: {audiences: [vault], expirationSeconds: 86400}")
        .on("token"),
    Example::new(
        "an agent requests a token for an audience that the policy lists, for longer than it allows",
    )
    .by(Agent)
    .under("tokens: {audiences: {vault: 7200}}")
    .creates(Object::TokenRequest, "spec: {audiences: [vault], expirationSeconds: 86400}")
    .on("token")
    .denied_at("spec.expirationSeconds"),
    Example::new("the platform requests a token for a day")
        .by(Worker)
        .creates(Object::TokenRequest, "spec: {expirationSeconds: 86400}")
        .on("token")
        .denied_at("spec.expirationSeconds"),
    Example::new("a kubelet requests the token of an admitted Pod")
        .by(Kubelet)
        .creates(Object::TokenRequest, "spec: {audiences: [vault]}")
        .on("token"),
];

pub(in crate::rules::rbac) const TOKEN002: &[Example] = &[
    Example::new("an agent requests a token of its own ServiceAccount")
        .by(Agent)
        .creates(Object::TokenRequest, "")
        .on("token"),
    Example::new("an agent in a slot requests a token of the platform's worker")
        .within(Slot)
        .by(Agent)
        .creates(Object::TokenRequest, "metadata: {name: codex-k8s-worker}")
        .on("token")
        .denied_at("metadata.name"),
    Example::new("a code-only run requests a token")
        .within(CodeOnly)
        .by(Agent)
        .creates(Object::TokenRequest, "metadata: {name: default}")
        .on("token")
        .denied_at("metadata.name"),
];
