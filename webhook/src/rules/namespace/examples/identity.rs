//! Examples of the rules about the labels that identify the run of a namespace.

use crate::rules::example::Setting::RunIdInUse;
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS001: &[Example] = &[
    Example::new("a person creates a namespace with only a name").creates(Object::NewNamespace, "").mutated(
        &[
            ("/metadata/labels/codex-k8s.dev~1managed-by", "codex-k8s-worker"),
            ("/metadata/labels/codex-k8s.dev~1namespace-purpose", "run"),
            ("/metadata/labels/codex-k8s.dev~1runtime-mode", "full-env"),
            ("/metadata/labels/codex-k8s.dev~1run-id", "nightly"),
            ("/metadata/labels/codex-k8s.dev~1project-id", "unknown"),
        ],
    ),
    Example::new("a person sets a label")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/runtime-mode: code-only}}"),
    Example::new("a person sets an unknown runtime mode")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/runtime-mode: everything}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/runtime-mode"]"#),
    Example::new("the platform sets a project id that is not sanitized")
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/project-id: My_Shop}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/project-id"]"#),
];

pub(in crate::rules::namespace) const NS002: &[Example] = &[
    Example::new("the name and the label contain the same issue").by(Worker).creates(
        Object::NewNamespace,
        "metadata: {name: codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47, labels: {codex-k8s.dev/issue-number: '42'}}",
    ),
    Example::new("the name contains another issue than the label")
        .by(Worker)
        .creates(
            Object::NewNamespace,
            "metadata: {name: codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47, labels: {codex-k8s.dev/issue-number: '7'}}",
        )
        .denied_at(r#"metadata.labels["codex-k8s.dev/issue-number"]"#),
    Example::new("the name contains another run than the label")
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
    Example::new("a person changes the run of the namespace")
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("a person removes the issue number")
        .updates(
            Object::RunNamespace,
            "metadata: {labels: {codex-k8s.dev/issue-number: '42'}}",
            "metadata: {labels: {codex-k8s.dev/issue-number: null}}",
        )
        .mutated(&[("/metadata/labels/codex-k8s.dev~1issue-number", "'42'")]),
    Example::new("an agent moves its namespace to another project")
        .by(Agent)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/project-id: p2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/project-id"]"#),
    Example::new("the platform changes the run without renewing the lease")
        .by(Worker)
        .updates(Object::RunNamespace, "", "metadata: {labels: {codex-k8s.dev/run-id: r2}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
];

pub(in crate::rules::namespace) const NS004: &[Example] = &[
    Example::new("a person uses a run id that no other namespace has")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
    Example::new("a person creates a second namespace of a run")
        .within(RunIdInUse)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}")
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("the platform creates the namespace of a run after a person did")
        .within(RunIdInUse)
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: r1}}"),
];

pub(in crate::rules::namespace) const NS005: &[Example] = &[
    Example::new("by default, a person creates a run namespace").creates(Object::NewNamespace, ""),
    Example::new("a person creates a run namespace where only managers may")
        .under("namespaces: {creation: managers}")
        .creates(Object::NewNamespace, "")
        .denied_at("metadata.name"),
    Example::new("the platform creates a run namespace where only managers may")
        .under("namespaces: {creation: managers}")
        .by(Worker)
        .creates(Object::NewNamespace, ""),
];
