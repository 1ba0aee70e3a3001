//! The form of a control of Pod Security.

use codex_k8s_shared::policy::{Level, Mode};

use super::pod::{Pod, Violations};
use crate::rules::example::Example;
use crate::rules::report::Report;
use crate::rules::rule::{Rule, Subject};
use crate::rules::workload::subject::{Context, Workload};
use crate::rules::{Kind, LevelVersion, Version};

/// A control of the Pod Security Standards, as a rule.
pub(super) struct Control {
    /// The rule.
    pub rule: Rule,
    /// The name of the control in the standards.
    pub name: &'static str,
    /// The level that it belongs to.
    pub level: Level,
    /// The first version that has it.
    pub since: Version,
    /// The first version in which a control of `restricted` replaces it at that level.
    pub replaced_since: Option<Version>,
    /// Reports the violations of a Pod.
    pub find: fn(&Pod<'_>, &mut Violations<'_, '_>),
}

impl Control {
    /// Creates a control of the level `baseline` that every version has.
    pub(super) const fn baseline(
        name: &'static str,
        rule: Rule,
        find: fn(&Pod<'_>, &mut Violations<'_, '_>),
    ) -> Self {
        Self { rule, name, level: Level::Baseline, since: Version::minor(0), replaced_since: None, find }
    }

    /// Creates a control of the level `restricted` that every version has.
    pub(super) const fn restricted(
        name: &'static str,
        rule: Rule,
        find: fn(&Pod<'_>, &mut Violations<'_, '_>),
    ) -> Self {
        Self { level: Level::Restricted, ..Self::baseline(name, rule, find) }
    }

    /// Sets the first version that has the control: a minor release of Kubernetes.
    pub(super) const fn since(self, minor: u32) -> Self {
        Self { since: Version::minor(minor), ..self }
    }

    /// Sets the first version in which a control of `restricted` replaces it.
    pub(super) const fn replaced_since(self, minor: u32) -> Self {
        Self { replaced_since: Some(Version::minor(minor)), ..self }
    }

    /// Returns true if a level has the control.
    fn is_part_of(&self, enforced: LevelVersion) -> bool {
        let is_replaced = enforced.level == Level::Restricted
            && self.replaced_since.is_some_and(|since| enforced.version >= since);
        enforced.level >= self.level && enforced.version >= self.since && !is_replaced
    }

    /// Evaluates a workload. Pods that controllers create have passed the `PodSecurity` plug-in already, and revisions
    /// are copies of templates.
    pub(super) fn validate(&self, context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
        let enforced = context.pod_security;
        let is_copy = context.generated && matches!(workload.kind, Kind::Pod | Kind::Revision);
        if is_copy || !self.is_part_of(enforced) {
            return;
        }
        if let Some(pod) = Pod::of(workload, enforced.version) {
            // Messages have the version of the label, as those of the API server do.
            let labelled = context.namespace.pod_security;
            (self.find)(&pod, &mut Violations::new(&pod, self.name, labelled, report));
        }
    }
}

/// Describes a control. All are enforced by default, because the API server refuses the Pods in any case.
pub(super) const fn describe(
    id: &'static str,
    title: &'static str,
    why: &'static str,
    remedy: &'static str,
    examples: &'static [Example],
) -> Rule {
    Rule {
        id,
        title,
        why,
        remedy,
        subject: Subject::Workload,
        reads: &[],
        default_mode: Mode::Enforce,
        examples,
    }
}
