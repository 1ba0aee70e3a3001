//! The result of evaluating a request.

use codex_k8s_shared::policy::Mode;

use super::report::{Code, Finding};
use super::rule::Rule;

/// The result of evaluating a request.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The changes to make before the object is validated.
    pub patch: json_patch::Patch,
    /// Warnings about values that the patch replaces.
    pub warnings: Vec<String>,
    /// All violations, each with the mode of its rule.
    pub findings: Vec<Finding>,
    /// All evaluated rules, with or without violations.
    pub evaluated: Vec<&'static Rule>,
    /// True if the rules apply to the request.
    pub in_scope: bool,
    /// True if the requester is a controller of the cluster.
    pub by_controller: bool,
}

impl Verdict {
    /// Returns the findings that deny the request.
    pub(crate) fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.mode == Mode::Enforce)
    }

    /// Turns all denials into warnings.
    pub(crate) fn only_warn(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.mode == Mode::Enforce) {
            finding.mode = Mode::Warn;
        }
    }

    /// Returns true if the request is denied only because it is too early.
    pub(crate) fn is_retryable(&self) -> bool {
        !self.is_allowed() && self.denials().all(|finding| finding.code == Code::NotReady)
    }

    /// Returns true if the request is admitted.
    pub fn is_allowed(&self) -> bool {
        self.denials().next().is_none()
    }

    pub(super) fn out_of_scope() -> Self {
        Self::default()
    }
}
