//! Examples of the rules about leases.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

const EXPIRES_AT: &str = r#"metadata.annotations["codex-k8s.dev/namespace-lease-expires-at"]"#;
const TTL: &str = r#"metadata.annotations["codex-k8s.dev/namespace-lease-ttl"]"#;
const RENEWED: &str = "metadata: {annotations: {
    codex-k8s.dev/namespace-lease-updated-at: 2026-02-01T12:00:00Z,
    codex-k8s.dev/namespace-lease-expires-at: 2026-02-02T12:00:00Z}}";
const SHORTENED: &str = "metadata: {annotations: {
    codex-k8s.dev/namespace-lease-ttl: 8h0m0s,
    codex-k8s.dev/namespace-lease-expires-at: 2026-02-01T16:00:00Z}}";

pub(in crate::rules::namespace) const LEASE001: &[Example] = &[
    Example::new("a person creates a namespace without a lease").creates(Object::NewNamespace, "").mutated(
        &[
            ("/metadata/annotations/codex-k8s.dev~1namespace-lease-ttl", "24h0m0s"),
            ("/metadata/annotations/codex-k8s.dev~1namespace-lease-updated-at", "2026-02-01T12:00:00Z"),
            ("/metadata/annotations/codex-k8s.dev~1namespace-lease-expires-at", "2026-02-02T12:00:00Z"),
        ],
    ),
    Example::new("a person renews the lease").updates(Object::RunNamespace, "", RENEWED),
    Example::new("the platform writes a ttl in another format")
        .by(Worker)
        .updates(
            Object::RunNamespace,
            "",
            "metadata: {annotations: {codex-k8s.dev/namespace-lease-ttl: a day}}",
        )
        .denied_at(TTL),
];

pub(in crate::rules::namespace) const LEASE002: &[Example] = &[
    Example::new("a person chooses a ttl of an hour").creates(
        Object::NewNamespace,
        "metadata: {annotations: {codex-k8s.dev/namespace-lease-ttl: 1h0m0s}}",
    ),
    Example::new("a person chooses a ttl of a minute")
        .creates(Object::NewNamespace, "metadata: {annotations: {codex-k8s.dev/namespace-lease-ttl: 1m0s}}")
        .denied_at(TTL),
    Example::new("the platform writes a lease that has already ended")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {annotations: {
                codex-k8s.dev/namespace-lease-ttl: 24h0m0s,
                codex-k8s.dev/namespace-lease-updated-at: 2026-01-31T11:00:00Z}}",
        )
        .denied_at(EXPIRES_AT),
];

pub(in crate::rules::namespace) const LEASE003: &[Example] = &[
    Example::new("the expiry is the renewal time plus the ttl").creates(
        Object::NewNamespace,
        "metadata: {annotations: {
            codex-k8s.dev/namespace-lease-ttl: 24h0m0s,
            codex-k8s.dev/namespace-lease-expires-at: 2026-02-02T12:00:00Z}}",
    ),
    Example::new("the ttl is an hour and the expiry is in a day")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {annotations: {
                codex-k8s.dev/namespace-lease-ttl: 1h0m0s,
                codex-k8s.dev/namespace-lease-expires-at: 2026-02-02T12:00:00Z}}",
        )
        .denied_at(EXPIRES_AT),
];

pub(in crate::rules::namespace) const LEASE004: &[Example] = &[
    Example::new("a person extends a lease").updates(Object::RunNamespace, "", RENEWED),
    Example::new("a person shortens a lease")
        .updates(Object::RunNamespace, "", SHORTENED)
        .denied_at(EXPIRES_AT),
    Example::new("the platform shortens a lease").by(Worker).updates(Object::RunNamespace, "", SHORTENED),
];

pub(in crate::rules::namespace) const LEASE005: &[Example] = &[
    Example::new("a person holds the namespace").updates(
        Object::RunNamespace,
        "",
        "metadata: {annotations: {codex-k8s.dev/hold: 2026-02-02T12:00:00Z looking into the failed migration}}",
    ),
    Example::new("an agent holds its own namespace")
        .by(Agent)
        .updates(
            Object::RunNamespace,
            "",
            "metadata: {annotations: {codex-k8s.dev/hold: 2026-02-02T12:00:00Z still at work}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/hold"]"#),
    Example::new("an agent changes something else").by(Agent).updates(
        Object::RunNamespace,
        "",
        "metadata: {annotations: {example.com/note: seen}}",
    ),
];

pub(in crate::rules::namespace) const LEASE006: &[Example] = &[
    Example::new("a person extends the lease of a new namespace").updates(Object::RunNamespace, "", RENEWED),
    Example::new("a person extends a lease after a month")
        .updates(Object::RunNamespace, "metadata: {creationTimestamp: 2026-01-02T12:00:00Z}", RENEWED)
        .denied_at(EXPIRES_AT),
    Example::new("the platform extends a lease after a month").by(Worker).updates(
        Object::RunNamespace,
        "metadata: {creationTimestamp: 2026-01-02T12:00:00Z}",
        RENEWED,
    ),
];
