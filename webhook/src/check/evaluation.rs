//! The evaluation of one object.

use std::fmt;

use codex_k8s_shared::policy::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Document, Position};
use crate::decision::Decided;
use crate::review::Operation;
use crate::rules::Finding;
use crate::rules::report::problem as describe_problem;

/// The verdict on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The rules do not apply to it.
    NotOurs,
    /// It is admitted unchanged.
    Admitted,
    /// It is admitted and changed.
    Mutated,
    /// It is denied.
    Denied,
    /// It is part of a live namespace's baseline and differs from the policy.
    Drifted,
}

impl Verdict {
    /// Returns the verdict in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotOurs => "not ours",
            Self::Admitted => "admitted",
            Self::Mutated => "admitted, mutated",
            Self::Denied => "denied",
            Self::Drifted => "drifted",
        }
    }
}

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object is denied.
    Error,
    /// Its creator gets a warning.
    Warning,
}

/// A violation of a rule at one path.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The rule's id.
    pub rule: &'static str,
    /// The title of the rule.
    pub title: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The path of the field in the object.
    pub path: String,
    /// The value that was found.
    pub found: String,
    /// The fix.
    pub remedy: String,
    /// The line of the field, or of its nearest parent, from 1. Absent for an object that is not from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The position in the file.
    #[serde(skip)]
    pub position: Option<Position>,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path, describe_problem(&self.found, &self.remedy))
    }
}

/// The evaluation of one object.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The file; `-` for standard input. Absent for a live cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The first line of its document, from 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: usize,
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; absent for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; empty if it has not been generated yet.
    pub name: String,
    /// The operation: `CREATE`, `UPDATE`, `DELETE` or `CONNECT`; `COMPARE` for objects of a live namespace's baseline.
    pub operation: &'static str,
    /// The verdict.
    pub result: Verdict,
    /// The message of the denial, as the API server would return it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The warnings for its creator.
    pub warnings: Vec<String>,
    /// All problems.
    pub problems: Vec<Problem>,
    /// The changes, as a JSON patch (RFC 6902).
    #[schemars(with = "Vec<Value>")]
    pub patch: json_patch::Patch,
    /// The object as it would be stored, if it is admitted.
    #[serde(skip)]
    pub stored: Option<Value>,
}

impl Evaluation {
    /// Returns the rules that deny it, each once.
    pub fn rules(&self) -> Vec<&'static str> {
        let denials = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let mut rules: Vec<_> = denials.map(|problem| problem.rule).collect();
        rules.dedup();
        rules
    }

    /// Returns kind, namespace and name.
    pub fn what(&self) -> String {
        what(&self.kind, self.namespace.as_deref(), &self.name)
    }
}

/// Returns kind, namespace and name.
pub(super) fn what(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let position = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {position}{name}")
}

/// Returns true if there is no such line.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(line: &usize) -> bool {
    *line == 0
}

pub(super) fn of(
    document: &Document,
    operation: Operation,
    namespace: Option<String>,
    patch: json_patch::Patch,
    Decided { findings, outcome }: Decided,
    object: Option<Value>,
) -> Evaluation {
    let result = match &outcome.denial {
        Some(_) => Verdict::Denied,
        None if outcome.audit.is_empty() => Verdict::NotOurs,
        None if patch.0.is_empty() => Verdict::Admitted,
        None => Verdict::Mutated,
    };
    Evaluation {
        file: document.file().to_owned(),
        line: document.line,
        api_version: document.api_version.clone(),
        kind: document.kind.clone(),
        namespace,
        name: document.name().to_owned(),
        operation: operation.as_str(),
        result,
        message: outcome.denial.map(|denial| denial.message),
        warnings: outcome.warnings,
        problems: findings.into_iter().filter_map(|finding| problem(document, finding)).collect(),
        patch,
        stored: object.filter(|_| result != Verdict::Denied),
    }
}

fn problem(document: &Document, finding: Finding) -> Option<Problem> {
    let severity = match finding.mode {
        Mode::Enforce => Severity::Error,
        Mode::Warn => Severity::Warning,
        // These modes produce no message.
        Mode::Audit | Mode::Off => return None,
    };
    let position = document.position(&finding.path);
    Some(Problem {
        rule: finding.rule.id,
        title: finding.rule.title,
        severity,
        line: position.as_ref().map(|position| position.line),
        column: position.as_ref().map(|position| position.column),
        position,
        path: finding.path,
        found: finding.found,
        remedy: finding.remedy,
    })
}
