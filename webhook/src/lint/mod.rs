//! What is wrong with a policy file, or allowed and still dangerous, and where it stands.
//!
//! What the loader refuses is told with the loader's own words; what it accepts is looked through for settings that
//! contradict each other, can never apply, or take a guard away.

mod settings;

use std::sync::Arc;

use codex_k8s_shared::policy::{PolicyError, RunPolicy};

use crate::check::{Severity, Source, source};
use crate::rules::catalogue;

/// Something to fix or to think about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The field, as a path in the document; empty where the text is no policy at all.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// How to fix it; empty where the problem says so.
    pub remedy: String,
    /// The line that it stands in, from 1.
    pub line: usize,
    /// The character of that line, from 1.
    pub column: usize,
}

/// A finding that has no place yet.
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
        let document = 0..source.text.len();
        let position = source::locate(source, &document, &source::steps(&self.field));
        let (line, column) = position.map_or((1, 1), |position| (position.line, position.column));
        let Self { severity, field, problem, remedy } = self;
        Finding { severity, field, problem, remedy, line, column }
    }
}

/// Looks through the text of a policy. What is in force without being written stands at what would hold it.
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
    let source = Arc::new(Source { file: String::new(), text: text.to_owned() });
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
