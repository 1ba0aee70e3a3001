//! The catalogue: every rule with its stable id, its title, its reason and its check.

use std::fmt;

use codex_k8s_shared::policy::{Mode, RunPolicy};

use super::example::Example;
use super::{guard, namespace, workload};

/// The subject of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Run namespaces.
    Namespace,
    /// Jobs, `CronJobs`, Pods and Pod templates in run namespaces.
    Workload,
    /// Everything else in a run namespace, and bindings elsewhere that grant rights to it.
    Guard,
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Namespace => "Run namespaces",
            Self::Workload => "Jobs, CronJobs, Pods and Pod templates",
            Self::Guard => "Baseline, rights and tokens",
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
            Self::Guard => &[],
        }
    }
}

/// A rule.
pub struct Rule {
    /// The stable id: letters and three digits. An id is never reused.
    pub id: &'static str,
    /// The rule in one sentence.
    pub title: &'static str,
    /// The consequence of not having the rule.
    pub why: &'static str,
    /// The way to comply.
    pub remedy: &'static str,
    /// The paths of the policy settings that the rule reads; `*` stands for any one key. The settings that all rules
    /// about the subject read are not repeated here: see [`settings`](Self::settings).
    pub reads: &'static [&'static str],
    /// The mode of the rule if the policy does not set one.
    pub default_mode: Mode,
    /// The check.
    pub check: Check,
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
    /// Returns the subject of the rule.
    pub const fn subject(&self) -> Subject {
        match self.check {
            Check::Namespace { .. } => Subject::Namespace,
            Check::Workload { .. } | Check::Transition { .. } => Subject::Workload,
            Check::Guard { .. } => Subject::Guard,
        }
    }

    /// Returns every setting that the rule reads, as in [`reads`](Self::reads), except its mode.
    pub fn settings(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.subject().reads()).chain(&READ_BY_ALL).copied()
    }

    /// Returns true if the rule reads the setting at a path, a part of it, or a section that contains it.
    pub fn reads_setting(&self, path: &[&str]) -> bool {
        match path {
            ["rules", id] => *id == self.id,
            _ => self.settings().any(|setting| overlaps(setting, path)),
        }
    }

    /// Returns true if the rule also fixes an object.
    pub const fn mutates(&self) -> bool {
        match self.check {
            Check::Namespace { mutate, .. } => mutate.is_some(),
            Check::Workload { mutate, .. } => mutate.is_some(),
            Check::Transition { mutate, .. } => mutate.is_some(),
            Check::Guard { mutate, .. } => mutate.is_some(),
        }
    }
}

/// Returns true if one of two paths is a prefix of the other.
fn overlaps(setting: &str, path: &[&str]) -> bool {
    setting.split('.').zip(path).all(|(step, key)| step == "*" || step == *key)
}

/// The check of a rule.
#[derive(Debug)]
pub enum Check {
    /// A check of Namespaces.
    Namespace {
        /// The validations.
        validate: &'static [namespace::Validate],
        /// Adds missing values.
        mutate: Option<namespace::Mutate>,
    },
    /// A check of the state of a workload.
    Workload {
        /// The validation.
        validate: workload::Validate,
        /// Adds missing values.
        mutate: Option<workload::Mutate>,
    },
    /// A check of a change to a workload.
    Transition {
        /// The condition under which it applies.
        applies: workload::AppliesToTransition,
        /// The validation, which compares the old object with the new one.
        validate: workload::ValidateTransition,
        /// Sets values.
        mutate: Option<workload::MutateTransition>,
    },
    /// A check of the other objects in a run namespace.
    Guard {
        /// The validation.
        validate: guard::Validate,
        /// Sets values in objects that a manager writes.
        mutate: Option<guard::Mutate>,
    },
}

/// All rules, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    namespace::rules().chain(workload::rules()).chain(guard::rules())
}

/// Returns the rule with an id, regardless of case.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

/// Returns the consequence of violating a rule in this mode: a participle, to follow "is".
pub const fn consequence(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "refused",
        Mode::Warn => "only warned about",
        Mode::Audit => "only written down",
        Mode::Off => "not looked at",
    }
}

/// Rejects a policy that sets the mode of an unknown rule.
///
/// # Errors
/// A message with the unknown id and the known ones.
pub fn check_modes(policy: &RunPolicy) -> Result<(), String> {
    match policy.rules.keys().find(|id| all().all(|rule| rule.id != id.as_str())) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<_> = all().map(|rule| rule.id).collect();
            Err(format!("rules.{id}: no rule has this id; the rules are {}", known.join(", ")))
        }
    }
}
