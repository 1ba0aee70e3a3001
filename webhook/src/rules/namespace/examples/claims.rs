//! Examples of the rule about the run ids that only managers may use.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS019: &[Example] = &[
    Example::new("a person uses a run id of their own")
        .creates(Object::NewNamespace, "metadata: {labels: {codex-k8s.dev/run-id: nightly}}"),
    Example::new("a person uses the id of a platform run before it starts")
        .creates(
            Object::NewNamespace,
            "metadata: {labels: {codex-k8s.dev/run-id: 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913}}",
        )
        .denied_at(r#"metadata.labels["codex-k8s.dev/run-id"]"#),
    Example::new("a person uses the name of a platform run")
        .creates(Object::NewNamespace, "metadata: {name: codex-issue-run-3f2b8c1e9d47}")
        .denied_at("metadata.name"),
    Example::new("the platform starts its run").by(Worker).creates(
        Object::NewNamespace,
        "metadata: {labels: {codex-k8s.dev/run-id: 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913}}",
    ),
];
