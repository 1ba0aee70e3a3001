//! The catalogue: every rule with its stable id, its title, the why, and what it decides.

use std::fmt;

use codex_k8s_shared::policy::{Mode, RunPolicy};

use super::example::Example;
use super::{guard, namespace, workload};

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Run namespaces.
    Namespace,
    /// Jobs, `CronJobs`, Pods and Pod templates in run namespaces.
    Workload,
    /// What else a run namespace holds, and bindings elsewhere that reach into it.
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

/// The settings that every rule reads: who passes all of them, and which namespaces are in scope.
const READ_BY_ALL: [&str; 2] = ["identities.breakGlass", "namespaces.prefixes"];

impl Subject {
    /// The settings that every rule about the subject reads, because they decide whether it applies.
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
    /// The stable id: letters and three digits. An id is never given to another rule.
    pub id: &'static str,
    /// The rule in one sentence.
    pub title: &'static str,
    /// What would happen without it.
    pub why: &'static str,
    /// How to comply.
    pub remedy: &'static str,
    /// The settings of the policy that the rule reads, as paths; `*` stands for any one key. What all rules about its
    /// subject read is left out: [`settings`](Self::settings) has it.
    pub reads: &'static [&'static str],
    /// What follows from breaking it, where the policy says nothing.
    pub default_mode: Mode,
    /// The decision.
    pub check: Check,
    /// Requests that show the rule at work.
    pub examples: &'static [Example],
}

impl fmt::Debug for Rule {
    // The id alone: findings, which tests print, refer to whole rules.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rule").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Rule {
    /// What the rule is about.
    pub const fn subject(&self) -> Subject {
        match self.check {
            Check::Namespace { .. } => Subject::Namespace,
            Check::Workload { .. } | Check::Transition { .. } => Subject::Workload,
            Check::Guard { .. } => Subject::Guard,
        }
    }

    /// Every setting of the policy that the rule reads, as [`reads`](Self::reads) names them, except its mode.
    pub fn settings(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.subject().reads()).chain(&READ_BY_ALL).copied()
    }

    /// Whether the rule reads the setting at a path, a part of it, or a section that it is in.
    pub fn reads_setting(&self, path: &[&str]) -> bool {
        match path {
            ["rules", id] => *id == self.id,
            _ => self.settings().any(|setting| overlaps(setting, path)),
        }
    }

    /// Whether the rule also fixes what is missing.
    pub const fn mutates(&self) -> bool {
        match self.check {
            Check::Namespace { mutate, .. } => mutate.is_some(),
            Check::Workload { mutate, .. } => mutate.is_some(),
            Check::Transition { mutate, .. } => mutate.is_some(),
            Check::Guard { mutate, .. } => mutate.is_some(),
        }
    }
}

/// Whether one of two paths is the beginning of the other.
fn overlaps(setting: &str, path: &[&str]) -> bool {
    setting.split('.').zip(path).all(|(step, key)| step == "*" || step == *key)
}

/// How a rule decides.
#[derive(Debug)]
pub enum Check {
    /// About Namespaces.
    Namespace {
        /// What it evaluates.
        validate: &'static [namespace::Validate],
        /// What it adds where it is missing.
        mutate: Option<namespace::Mutate>,
    },
    /// About workloads.
    Workload {
        /// What it evaluates.
        validate: workload::Validate,
        /// What it adds where it is missing.
        mutate: Option<workload::Mutate>,
    },
    /// About how a workload comes to be what it is.
    Transition {
        /// Whether it applies to the change.
        applies: workload::AppliesToTransition,
        /// What it evaluates, the old object beside the new one.
        validate: workload::ValidateTransition,
        /// What it sets.
        mutate: Option<workload::MutateTransition>,
    },
    /// About what a run namespace holds.
    Guard {
        /// What it evaluates.
        validate: guard::Validate,
        /// What it sets in what a manager writes.
        mutate: Option<guard::Mutate>,
    },
}

/// All rules, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    namespace::rules().chain(workload::rules()).chain(guard::rules())
}

/// The rule of an id; the case of its letters does not matter.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

/// What is done about what breaks a rule, in words that go on after "is".
pub const fn consequence(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "refused",
        Mode::Warn => "only warned about",
        Mode::Audit => "only written down",
        Mode::Off => "not looked at",
    }
}

/// Refuses a policy that sets a mode for a rule that does not exist.
///
/// # Errors
/// A message that names the id and lists those that exist.
pub fn check_modes(policy: &RunPolicy) -> Result<(), String> {
    match policy.rules.keys().find(|id| all().all(|rule| rule.id != id.as_str())) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<_> = all().map(|rule| rule.id).collect();
            Err(format!("rules.{id}: no rule has this id; the rules are {}", known.join(", ")))
        }
    }
}
