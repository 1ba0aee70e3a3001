//! Examples of the rules about the labels that say which run a namespace belongs to.

use crate::rules::example::Setting::RunIdInUse;
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS001: &[Example] = &[
    Example::new("a namespace that is created by its name alone gets the whole set")
        .creates(Object::NewNamespace, "")
        .mutated(&[
            ("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker"),
            ("/metadata/labels/codex-k8s.dev~1namespace-purpose", "run"),
            ("/metadata/labels/codex-k8s.dev~1runtime-mode", "full-env"),
            ("/metadata/labels/codex-k8s.dev~1run-id", "nightly"),
            ("/metadata/labels/codex-k8s.dev~1project-id", "unknown"),
        ]),
    Example::new("a label that is given is kept")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/runtime-mode: code-only}}"),
    Example::new("a runtime mode that does not exist")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/runtime-mode: everything}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/runtime-mode"]"#),
    Example::new("a project that no label of the platform spells like this")
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/project-id: My_Shop}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/project-id"]"#),
];

pub(in crate::rules::namespace) const NS002: &[Example] = &[
    Example::new("the name and the label say the same issue").by(Worker).creates(
        Object::NewNamespace,
        "metadata: {name: codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47, labels: {codex-k8s.dev/issue-number: '42'}}",
    ),
    Example::new("the name says another issue than the label")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {name: codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47, labels: {codex-k8s.dev/issue-number: '7'}}",
        )
        .denied_at(r#"metadata.labels["codex-k8s.dev/issue-number"]"#),
    Example::new("the name says another run than the label")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {name: codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47, labels: {codex-k8s.dev/run-id: nightly}}",
        )
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
];

pub(in crate::rules::namespace) const NS003: &[Example] = &[
    Example::new("the platform hands the namespace to the next run of its issue").by(Worker).updates(
        Object::RunNamespace,
        "",
        "metadata:
            labels: {codex-k8s.dev/run-id: r2}
            annotations:
                codex-k8s.dev/namespace-lease-updated-at: 2026-02-01T12:00:00Z
                codex-k8s.dev/namespace-lease-expires-at: 2026-02-02T12:00:00Z",
    ),
    Example::new("a person points the namespace at another run")
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("an agent moves its namespace to another project")
        .by(Agent)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/project-id: p2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/project-id"]"#),
    Example::new("the platform names another run and leaves the lease as it is")
        .by(Worker)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
];

pub(in crate::rules::namespace) const NS004: &[Example] = &[
    Example::new("a run id that no other namespace carries")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
    Example::new("a person creates a second namespace of a run")
        .within(RunIdInUse)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("the platform does not give way to a person's namespace")
        .within(RunIdInUse)
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
];

pub(in crate::rules::namespace) const NS005: &[Example] = &[
    Example::new("by default, anyone with the right to create namespaces creates a run namespace")
        .creates(Object::NewNamespace, ""),
    Example::new("a person creates a run namespace where only the platform may")
        .under("namespaces: {creation: managers}")
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("the platform may")
        .under("namespaces: {creation: managers}")
        .by(Worker)
        .creates(Object::NewNamespace, ""),
];
