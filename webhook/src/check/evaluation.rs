//! The verdict on one object, with all that is told of it.

use std::fmt;

use codex_k8s_shared::policy::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Document, Position};
use crate::engine::Decided;
use crate::review::Operation;
use crate::rules::Finding;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is none of the webhook's business.
    NotOurs,
    /// It is admitted as it is.
    Admitted,
    /// It is admitted, and changed on its way in.
    Mutated,
    /// It is refused.
    Denied,
    /// It is part of a live namespace's baseline, and not as the policy has it.
    Drifted,
}

impl Verdict {
    /// It in words.
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

/// What follows from a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object is refused.
    Error,
    /// Its creator is warned.
    Warning,
}

/// A rule that is broken in one place.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The rule's id.
    pub rule: &'static str,
    /// What the rule says.
    pub title: &'static str,
    /// What follows from it.
    pub severity: Severity,
    /// The field, as a path in the object.
    pub path: String,
    /// What was found there.
    pub found: String,
    /// How to fix it.
    pub remedy: String,
    /// The line of the field, or of what would hold it, from 1; none for an object that stands in no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The character of that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Where it stands.
    #[serde(skip)]
    pub position: Option<Position>,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: found {}; {}", self.path, self.found, self.remedy)
    }
}

/// The verdict on one object.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The file that it stands in; `-` for standard input, none in a live cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line that its document begins at, from 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: usize,
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The namespace that it lies in; none for what lies in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; empty where it is still to be generated.
    pub name: String,
    /// What is done to it: `CREATE`, `UPDATE`, `DELETE` or `CONNECT`; `COMPARE` for what is part of a live namespace's
    /// baseline.
    pub operation: &'static str,
    /// What became of it.
    pub result: Verdict,
    /// Why it is refused, as the API server would tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What its creator is told beside.
    pub warnings: Vec<String>,
    /// What is wrong with it, one by one.
    pub problems: Vec<Problem>,
    /// What is changed, as a JSON patch (RFC 6902).
    #[schemars(with = "Vec<Value>")]
    pub patch: json_patch::Patch,
    /// The object as it would be stored, if it is admitted.
    #[serde(skip)]
    pub stored: Option<Value>,
}

impl Evaluation {
    /// The rules that refuse it, each once.
    pub fn rules(&self) -> Vec<&'static str> {
        let denials = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let mut rules: Vec<_> = denials.map(|problem| problem.rule).collect();
        rules.dedup();
        rules
    }

    /// Kind, namespace and name.
    pub fn what(&self) -> String {
        what(&self.kind, self.namespace.as_deref(), &self.name)
    }
}

/// Kind, namespace and name.
pub(super) fn what(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let position = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {position}{name}")
}

/// Whether there is no such line.
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
        // Nobody is told.
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
