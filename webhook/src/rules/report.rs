//! What rules say of a request.

use std::collections::HashSet;
use std::fmt;

use codex_k8s_shared::policy::Mode;

use super::catalogue::Rule;

/// How a finding is answered when it refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 403: not to be done, or not by this requester.
    Forbidden,
    /// 422: a value that is not well formed or out of its range.
    Invalid,
    /// 429: not yet.
    NotReady,
}

/// One rule broken in one place.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What follows from it.
    pub mode: Mode,
    /// Forbidden or invalid.
    pub code: Code,
    /// The field, as a path in the object.
    pub path: String,
    /// What was found there.
    pub found: String,
    /// How to fix it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: found {}; {}", self.rule.id, self.path, self.found, self.remedy)
    }
}

impl Finding {
    /// The field and its value: equal for findings about the same state.
    fn state(&self) -> (&str, &str) {
        (&self.path, &self.found)
    }
}

/// The findings of one rule.
#[derive(Debug)]
pub struct Report {
    rule: &'static Rule,
    mode: Mode,
    findings: Vec<Finding>,
}

impl Report {
    /// Nothing found yet.
    pub const fn new(rule: &'static Rule, mode: Mode) -> Self {
        Self { rule, mode, findings: Vec::new() }
    }

    /// Something that is not to be done. `found` is quoted by the caller where it is a value.
    pub fn forbid(&mut self, path: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Code::Forbidden, path.into(), found.into(), remedy.into());
    }

    /// A value that is not well formed or out of its range.
    pub fn invalid(&mut self, path: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Code::Invalid, path.into(), found.into(), remedy.into());
    }

    /// Something that may be done in a moment.
    pub fn not_ready(
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

    /// Adds the findings of another look by the same rule.
    pub fn append(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Drops what `before` found as well: an update is not blamed for what was already so.
    pub fn retain_what_is_new(&mut self, before: &Self) {
        let before: HashSet<_> = before.findings.iter().map(Finding::state).collect();
        self.findings.retain(|finding| !before.contains(&finding.state()));
    }

    /// The findings.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// A value from a request as a message may show it: quoted, without control characters, 80 characters at most.
pub fn quoted(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = value.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// Text from a request as a message may show it where it is no value: cut, without control characters.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for rune in text.chars().take(LONGEST) {
        if rune.is_control() { shown.extend(rune.escape_default()) } else { shown.push(rune) }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// A value that may be absent, as a message may show it.
pub fn quoted_or_nothing(value: Option<&str>) -> String {
    value.map_or_else(|| "nothing".to_owned(), quoted)
}

/// `metadata.labels["key"]`.
pub fn label_path(holder: &str, key: &str) -> String {
    format!("{holder}metadata.labels[\"{}\"]", key.escape_debug())
}

/// `metadata.annotations["key"]`.
pub fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[\"{}\"]", key.escape_debug())
}
