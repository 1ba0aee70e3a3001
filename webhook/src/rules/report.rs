//! Findings of the rules about a request.

use std::collections::HashSet;
use std::fmt;

use codex_k8s_shared::policy::Mode;

use super::rule::Rule;

/// The status code of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 403: not allowed, or not for this requester.
    Forbidden,
    /// 422: malformed, or out of range.
    Invalid,
    /// 429: not yet.
    NotReady,
}

/// One violation of one rule at one path.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The mode of the rule.
    pub mode: Mode,
    /// The status code.
    pub code: Code,
    /// The path of the field in the object.
    pub path: String,
    /// The value that was found.
    pub found: String,
    /// The fix.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.rule.id, self.path, self.problem())
    }
}

impl Finding {
    /// Returns the problem and its fix, in the form of the API server's `field.Error`.
    pub(crate) fn problem(&self) -> String {
        match self.code {
            Code::NotReady => format!("Forbidden: {}: {}", self.found, self.remedy),
            Code::Forbidden | Code::Invalid => problem(&self.found, &self.remedy),
        }
    }

    /// Returns the field and its value: equal for findings about the same state.
    fn state(&self) -> (&str, &str) {
        (&self.path, &self.found)
    }
}

/// The findings of one rule.
#[derive(Debug)]
pub(crate) struct Report {
    rule: &'static Rule,
    mode: Mode,
    findings: Vec<Finding>,
}

impl Report {
    /// Starts without findings.
    pub(crate) const fn new(rule: &'static Rule, mode: Mode) -> Self {
        Self { rule, mode, findings: Vec::new() }
    }

    /// Starts another report of the same rule, without findings.
    #[must_use]
    pub(crate) const fn another(&self) -> Self {
        Self::new(self.rule, self.mode)
    }

    /// Adds a finding about something that is not allowed. The caller quotes `found` if it is a value.
    pub(crate) fn forbid(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Code::Forbidden, path.into(), found.into(), remedy.into());
    }

    /// Adds a finding about a value that is malformed or out of range.
    pub(crate) fn invalid(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Code::Invalid, path.into(), found.into(), remedy.into());
    }

    /// Adds a finding about something that will be allowed soon.
    pub(crate) fn not_ready(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Code::NotReady, path.into(), found.into(), remedy.into());
    }

    fn add(&mut self, code: Code, path: String, found: String, remedy: String) {
        self.findings.push(Finding { rule: self.rule, mode: self.mode, code, path, found, remedy });
    }

    /// Appends the findings of another run of the same rule.
    pub(crate) fn append(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }

    /// Returns true if there are no findings.
    pub(crate) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Drops the findings that `before` has too: an update may keep existing violations.
    pub(crate) fn retain_what_is_new(&mut self, before: &Self) {
        let before: HashSet<_> = before.findings.iter().map(Finding::state).collect();
        self.findings.retain(|finding| !before.contains(&finding.state()));
    }

    /// Returns the findings.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// Formats a problem and its fix like the API server's `field.Error`: the value is missing, must not be there, or is
/// invalid.
pub fn problem(found: &str, remedy: &str) -> String {
    match found {
        NOTHING if remedy.starts_with("must stay") => format!("Forbidden: cannot be removed: {remedy}"),
        NOTHING => format!("Required value: {remedy}"),
        _ if remedy.starts_with("leave it out") => format!("Forbidden: {remedy} (found {found})"),
        _ => format!("Invalid value: {found}: {remedy}"),
    }
}

/// An absent value, in [`Finding::found`].
const NOTHING: &str = "nothing";

/// Formats a value from a request for a message: quoted, without control characters, at most 80 characters.
pub(crate) fn quoted(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = value.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// Formats free text from a request for a message: truncated, without control characters.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for character in text.chars().take(LONGEST) {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Formats a value that may be absent for a message.
pub(crate) fn quoted_or_nothing(value: Option<&str>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), quoted)
}

/// Returns the fix for a value that must not change.
pub(crate) fn stays(before: Option<&str>) -> String {
    before.map_or_else(|| "must stay unset".to_owned(), |before| format!("must stay {}", quoted(before)))
}

/// Returns the path `metadata.labels["key"]`.
pub(crate) fn label_path(holder: &str, key: &str) -> String {
    format!("{holder}metadata.labels[\"{}\"]", key.escape_debug())
}

/// Returns the path `metadata.annotations["key"]`.
pub(crate) fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[\"{}\"]", key.escape_debug())
}
