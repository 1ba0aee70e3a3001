//! Pods as the controls of Pod Security see them, and their violations.

use serde_json::Value;

use crate::rules::object::{at, is_true, items, text};
use crate::rules::report::Report;
use crate::rules::workload::subject::{Container, Workload};
use crate::rules::{LevelVersion, Meta, Version};

/// The Pod of a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    workload: &'a Workload<'a>,
    /// Its spec.
    pub spec: &'a Value,
    /// The version of the controls.
    pub version: Version,
}

/// The security context of a Pod or a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecurityContext<'a> {
    /// The context.
    pub value: &'a Value,
    /// The container; `None` for the context of the whole Pod.
    container: Option<Container<'a>>,
}

impl<'a> Pod<'a> {
    /// Returns the Pod of a workload, if it has one.
    pub(super) fn of(workload: &'a Workload<'a>, version: Version) -> Option<Self> {
        Some(Self { workload, spec: workload.pod_spec()?, version })
    }

    /// Returns all containers.
    pub(super) fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        self.workload.containers()
    }

    /// Returns the security context of the Pod, if it has one.
    pub(super) fn security(&self) -> Option<SecurityContext<'a>> {
        let value = at(self.spec, &["securityContext"])?;
        Some(SecurityContext { value, container: None })
    }

    /// Returns all security contexts: that of the Pod, and those of its containers.
    pub(super) fn contexts(&self) -> impl Iterator<Item = SecurityContext<'a>> {
        let of_container = |container: Container<'a>| {
            let value = at(container.value, &["securityContext"])?;
            Some(SecurityContext { value, container: Some(container) })
        };
        self.security().into_iter().chain(self.containers().filter_map(of_container))
    }

    /// Returns the volumes.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &'a Value> {
        items(self.spec.get("volumes"))
    }

    /// Returns the metadata of the Pod.
    pub(super) fn meta(&self) -> Meta<'a> {
        self.workload.pod_meta()
    }

    /// Returns true if root in its containers is not root on the node, which the controls consider since 1.35.
    pub(super) fn has_own_users(&self) -> bool {
        self.version >= Version::minor(35)
            && self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false)
    }

    /// Returns true if it runs on Windows, where the fields of Linux must not be set. The controls consider that since
    /// 1.25.
    pub(super) fn is_for_windows(&self) -> bool {
        self.version >= Version::minor(25)
            && at(self.spec, &["os"]).and_then(|os| text(os, "name")) == Some("windows")
    }
}

impl SecurityContext<'_> {
    /// Returns true if a boolean field is `true`.
    pub(super) fn is_true(&self, object: &str, field: &str) -> bool {
        at(self.value, &[object]).is_some_and(|object| is_true(object, field))
    }
}

/// The violations of a control by a Pod.
#[derive(Debug)]
pub(super) struct Violations<'r, 'a> {
    pod: &'r Pod<'a>,
    control: &'static str,
    enforced: LevelVersion,
    report: &'r mut Report,
}

impl<'r, 'a> Violations<'r, 'a> {
    /// Starts to collect the violations of a control.
    pub(super) fn new(
        pod: &'r Pod<'a>,
        control: &'static str,
        enforced: LevelVersion,
        report: &'r mut Report,
    ) -> Self {
        Self { pod, control, enforced, report }
    }

    fn add(&mut self, path: String, found: impl Into<String>, remedy: &str) {
        let (control, enforced) = (self.control, self.enforced);
        self.report.forbid(path, found, format!("{remedy} ({control} of Pod Security \"{enforced}\")"));
    }

    /// Adds a violation in a field of the Pod's spec.
    pub(super) fn of_spec(&mut self, field: &str, found: impl Into<String>, remedy: &str) {
        self.add(self.pod.workload.pod_field(field), found, remedy);
    }

    /// Adds a violation in an annotation of the Pod.
    pub(super) fn of_annotation(&mut self, key: &str, found: impl Into<String>, remedy: &str) {
        self.add(self.pod.workload.pod_annotation(key), found, remedy);
    }

    /// Adds a violation in a field of a container.
    pub(super) fn of_container(
        &mut self,
        container: Container<'_>,
        field: &str,
        found: impl Into<String>,
        remedy: &str,
    ) {
        self.add(container.field(self.pod.workload, field), found, remedy);
    }

    /// Adds a violation in a field of a security context.
    pub(super) fn of_context(
        &mut self,
        context: SecurityContext<'_>,
        field: &str,
        found: impl Into<String>,
        remedy: &str,
    ) {
        let field = format!("securityContext.{field}");
        match context.container {
            Some(container) => self.of_container(container, &field, found, remedy),
            None => self.of_spec(&field, found, remedy),
        }
    }
}
