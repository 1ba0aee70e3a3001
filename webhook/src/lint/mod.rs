//! Finds errors and dangerous settings in a policy file, with their positions.
//!
//! Errors of the loader are reported with the loader's own message. In a valid policy, the checks find settings that
//! contradict each other, can never apply, or remove a protection.

mod settings;

use std::sync::Arc;

use codex_k8s_shared::policy::{PolicyError, RunPolicy};

use crate::check::{Severity, Source, locate_in_text};
use crate::rules::catalogue;

/// An error or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The path of the field in the document; empty if the text is not a policy.
    pub field: String,
    /// The problem.
    pub problem: String,
    /// The fix; empty if the problem already says it.
    pub remedy: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A finding without a position.
#[derive(Debug, PartialEq, Eq)]
struct Remark {
    severity: Severity,
    field: String,
    problem: String,
    remedy: String,
}

impl Remark {
    fn new(severity: Severity, field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, field: field.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    fn located(self, source: &Arc<Source>) -> Finding {
        let position = locate_in_text(source, &self.field);
        let (line, column) = position.map_or((1, 1), |position| (position.line, position.column));
        let Self { severity, field, problem, remedy } = self;
        Finding { severity, field, problem, remedy, line, column }
    }
}

/// Checks the text of a policy. A default that is not in the text gets the position of its parent.
pub fn lint(text: &str) -> Vec<Finding> {
    let policy = match serde_saphyr::from_str::<RunPolicy>(text) {
        Ok(policy) => policy,
        Err(error) => return vec![unreadable(&error)],
    };
    let mut remarks = Vec::new();
    if let Err(PolicyError::Invalid { field, problem }) = policy.check() {
        remarks.push(Remark::new(Severity::Error, &field, problem, ""));
    }
    if let Err(message) = catalogue::check_modes(&policy) {
        let (field, problem) = message.split_once(": ").unwrap_or(("rules", &message));
        remarks.push(Remark::new(Severity::Error, field, problem, ""));
    }
    remarks.extend(settings::remarks(&policy));
    let source = Arc::new(Source::new(String::new(), text.to_owned()));
    let mut findings: Vec<_> = remarks.into_iter().map(|remark| remark.located(&source)).collect();
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings
}

fn unreadable(error: &serde_saphyr::Error) -> Finding {
    let at = error.location();
    let position = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
    Finding {
        severity: Severity::Error,
        field: String::new(),
        problem: error.without_snippet().to_string(),
        remedy: "`policy schema` tells the fields that there are".to_owned(),
        line: position(at.map(|at| at.line())),
        column: position(at.map(|at| at.column())),
    }
}

#[cfg(test)]
mod tests;
