//! The evaluation of one object.

use std::fmt;

use codex_k8s_shared::policy::Mode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::decode::{self, Defect};
use super::{Document, Position};
use crate::decision::Decided;
use crate::review::Operation;
use crate::rules::Finding;
use crate::rules::report::problem as describe_problem;

/// The verdict on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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
    /// The API server cannot read it, so the rules are not evaluated.
    Invalid,
    /// It is in a namespace of the same set that the API server cannot read, so there are no facts to evaluate it with.
    NotEvaluated,
    /// It is part of a live namespace's baseline and differs from the policy.
    Drifted,
}

impl Verdict {
    /// Returns true if the object would not be, or may not be, in the cluster as the file says.
    pub const fn fails(self) -> bool {
        match self {
            Self::NotOurs | Self::Admitted | Self::Mutated => false,
            Self::Denied | Self::Invalid | Self::NotEvaluated | Self::Drifted => true,
        }
    }

    /// Returns the verdict in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotOurs => "not ours",
            Self::Admitted => "admitted",
            Self::Mutated => "admitted, mutated",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::NotEvaluated => "not evaluated",
            Self::Drifted => "drifted",
        }
    }
}

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object is denied or invalid; of an assumption: none is allowed.
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

/// A fact that is not in the set and that the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assumption {
    /// An error if assumptions are not allowed, else a warning.
    pub severity: Severity,
    /// The assumption.
    pub message: String,
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
    /// The message of the denial, as the API server would return it, or the reason why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The assumption that the verdict rests on, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumption: Option<Assumption>,
    /// The warnings for its creator.
    pub warnings: Vec<String>,
    /// All problems.
    pub problems: Vec<Problem>,
    /// The changes, as a JSON patch (RFC 6902).
    #[schemars(with = "Vec<Value>")]
    pub patch: json_patch::Patch,
}

impl Evaluation {
    /// Returns the rules that deny it, each once.
    pub fn rules(&self) -> Vec<&'static str> {
        let denials = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let mut rules: Vec<_> = denials.map(|problem| problem.rule).collect();
        rules.dedup();
        rules
    }

    /// Returns true if the object is an error: it fails, or its verdict rests on an assumption that is not allowed.
    pub fn fails(&self) -> bool {
        let is_error = |assumption: &Assumption| assumption.severity == Severity::Error;
        self.result.fails() || self.assumption.as_ref().is_some_and(is_error)
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
) -> Evaluation {
    let result = match &outcome.denial {
        Some(_) => Verdict::Denied,
        None if outcome.audit.is_empty() => Verdict::NotOurs,
        None if patch.0.is_empty() => Verdict::Admitted,
        None => Verdict::Mutated,
    };
    Evaluation {
        message: outcome.denial.map(|denial| denial.message),
        warnings: outcome.warnings,
        problems: findings.into_iter().filter_map(|finding| problem(document, finding)).collect(),
        patch,
        ..without_findings(document, operation, namespace, result)
    }
}

/// Returns the evaluation of an object of a file, without findings.
fn without_findings(
    document: &Document,
    operation: Operation,
    namespace: Option<String>,
    result: Verdict,
) -> Evaluation {
    let (api_version, kind) = (document.api_version.clone(), document.kind.clone());
    Evaluation {
        file: document.file().to_owned(),
        line: document.line,
        operation: operation.as_str(),
        result,
        ..unevaluated(api_version, kind, namespace, document.name().to_owned())
    }
}

/// The operation in the evaluation of a compared object.
const COMPARE: &str = "COMPARE";

/// Returns the evaluation of an object of a live cluster without evaluating any rule.
pub(super) fn unevaluated(
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
) -> Evaluation {
    Evaluation {
        file: String::new(),
        line: 0,
        api_version,
        kind,
        namespace,
        name,
        operation: COMPARE,
        result: Verdict::Admitted,
        message: None,
        assumption: None,
        warnings: Vec::new(),
        problems: Vec::new(),
        patch: json_patch::Patch::default(),
    }
}

/// Returns the evaluation of an object that the API server cannot read.
pub(super) fn invalid(document: &Document, operation: Operation, namespace: Option<String>) -> Evaluation {
    let problems: Vec<_> = document.defects.iter().map(|defect| unreadable(document, defect)).collect();
    let lines: Vec<_> = problems.iter().map(|problem| format!("{}: {problem}", problem.rule)).collect();
    Evaluation {
        message: Some(lines.join("\n")),
        problems,
        ..without_findings(document, operation, namespace, Verdict::Invalid)
    }
}

fn unreadable(document: &Document, defect: &Defect) -> Problem {
    let (rule, title) = (decode::RULE, decode::TITLE);
    let Defect { path, found, remedy } = defect.clone();
    Problem::new(document, (rule, title), Severity::Error, (path, found, remedy))
}

/// Returns the evaluation of an object in a namespace that the API server cannot read.
pub(super) fn not_evaluated(document: &Document, operation: Operation, namespace: String) -> Evaluation {
    let message = format!("not evaluated, because the namespace {namespace} in the same set is invalid");
    Evaluation {
        message: Some(message),
        ..without_findings(document, operation, Some(namespace), Verdict::NotEvaluated)
    }
}

fn problem(document: &Document, finding: Finding) -> Option<Problem> {
    let severity = match finding.mode {
        Mode::Enforce => Severity::Error,
        Mode::Warn => Severity::Warning,
        // These modes produce no message.
        Mode::Audit | Mode::Off => return None,
    };
    let Finding { path, found, remedy, .. } = finding;
    Some(Problem::new(document, (finding.rule.id, finding.rule.title), severity, (path, found, remedy)))
}

impl Problem {
    /// Creates a problem of a rule, by id and title, with the path, the value that was found and the fix.
    fn new(
        document: &Document,
        (rule, title): (&'static str, &'static str),
        severity: Severity,
        (path, found, remedy): (String, String, String),
    ) -> Self {
        let position = document.position(&path);
        let line = position.as_ref().map(|position| position.line);
        let column = position.as_ref().map(|position| position.column);
        Self { rule, title, severity, path, found, remedy, line, column, position }
    }
}
