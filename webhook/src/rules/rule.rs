//! The description of a rule: its stable id, its title, its reason and its settings.

use std::fmt;

use codex_k8s_shared::policy::{Mode, RunPolicy};

use super::example::Example;

/// The subject of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Run namespaces.
    Namespace,
    /// Jobs, `CronJobs`, Pods and Pod templates in run namespaces.
    Workload,
    /// Everything else in a run namespace, and bindings elsewhere that grant rights to it.
    Contents,
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Namespace => "Run namespaces",
            Self::Workload => "Jobs, CronJobs, Pods and Pod templates",
            Self::Contents => "Baseline, rights and tokens",
        })
    }
}

/// The settings that every rule reads: the exempt identities, and the namespaces in scope.
const READ_BY_ALL: [&str; 2] = ["identities.breakGlass", "namespaces.prefixes"];

impl Subject {
    /// The settings that every rule about the subject reads, because they decide if it applies.
    const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::Namespace => &["identities.namespaceControllers"],
            Self::Workload => &[
                "identities.managers",
                "identities.namespaceControllers",
                "identities.workloadControllers",
                "namespaces.slotProjects",
            ],
            Self::Contents => &[],
        }
    }
}

/// A rule: its description, without the functions that evaluate it. Those are in the `Check` of its subject.
pub struct Rule {
    /// The stable id: letters and three digits. An id is never reused.
    pub id: &'static str,
    /// The rule in one sentence.
    pub title: &'static str,
    /// The consequence of not having the rule.
    pub why: &'static str,
    /// The way to comply.
    pub remedy: &'static str,
    /// The kind of objects that it is about.
    pub subject: Subject,
    /// The paths of the policy settings that the rule reads; `*` stands for any one key. The settings that all rules
    /// about the subject read are not repeated here: see [`settings`](Self::settings).
    pub reads: &'static [&'static str],
    /// The mode of the rule if the policy does not set one.
    pub default_mode: Mode,
    /// Requests that show the rule at work.
    pub examples: &'static [Example],
}

impl fmt::Debug for Rule {
    // Only the id: tests print findings, and these contain whole rules.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rule").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Rule {
    /// Returns the mode of the rule under a policy.
    pub(crate) fn mode(&self, policy: &RunPolicy) -> Mode {
        if policy.rules.is_empty() {
            return self.default_mode;
        }
        policy.rules.get(self.id).copied().unwrap_or(self.default_mode)
    }

    /// Returns every setting that the rule reads, as in [`reads`](Self::reads), except its mode.
    pub fn settings(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.subject.reads()).chain(&READ_BY_ALL).copied()
    }

    /// Returns true if the rule reads the setting at a path, a part of it, or a section that contains it.
    pub(crate) fn reads_setting(&self, path: &[&str]) -> bool {
        match path {
            ["rules", id] => *id == self.id,
            _ => self.settings().any(|setting| overlaps(setting, path)),
        }
    }
}

/// Returns true if one of two paths is a prefix of the other.
fn overlaps(setting: &str, path: &[&str]) -> bool {
    setting.split('.').zip(path).all(|(step, key)| step == "*" || step == *key)
}
