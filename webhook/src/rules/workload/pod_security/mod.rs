//! The controls of the Pod Security Standards, evaluated at the template.
//!
//! The API server's `PodSecurity` plug-in refuses Pods, but of a template it only warns: a Job whose Pods it refuses is
//! admitted and waits until its deadline. These rules refuse the template, by the level and the version that the
//! namespace itself enforces. Warnings and audit annotations about templates are left to the plug-in.

mod baseline;
mod control;
mod pod;
mod restricted;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;

use codex_k8s_shared::policy::Mode;

pub(super) use baseline::CHECKS as BASELINE;
pub(super) use restricted::CHECKS as RESTRICTED;

use super::subject::Check;
use crate::rules::{Finding, Rule};

/// The strictness of a finding: that of its mode first, and then that of its fix.
type Strictness = (Reverse<Mode>, Fix);

/// The fix that a rule asks for, from the weakest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fix {
    /// A control of `baseline`: our own rules about the host ask for at least as much.
    Baseline,
    /// A rule of our own.
    Own,
    /// A control of `restricted`.
    Restricted,
}

fn is_among(checks: &[Check], rule: &Rule) -> bool {
    checks.iter().any(|check| check.rule.id == rule.id)
}

fn strictness(finding: &Finding) -> Strictness {
    let fix = match finding.rule {
        rule if is_among(BASELINE, rule) => Fix::Baseline,
        rule if is_among(RESTRICTED, rule) => Fix::Restricted,
        _ => Fix::Own,
    };
    (Reverse(finding.mode), fix)
}

/// Leaves the strictest finding where a control and a rule of our own report the same field.
pub(super) fn without_repetition(mut findings: Vec<Finding>) -> Vec<Finding> {
    let is_control = |finding: &Finding| strictness(finding).1 != Fix::Own;
    let strictest = |of_controls: bool| {
        let mut strictest: HashMap<String, Strictness> = HashMap::new();
        for finding in findings.iter().filter(|finding| is_control(finding) == of_controls) {
            let found = strictness(finding);
            let entry = strictest.entry(finding.path.clone()).or_insert(found);
            *entry = found.max(*entry);
        }
        strictest
    };
    if !findings.iter().any(is_control) {
        return findings;
    }
    let (controls, own) = (strictest(true), strictest(false));
    findings.retain(|finding| {
        let others = if is_control(finding) { &own } else { &controls };
        others.get(&finding.path).is_none_or(|other| strictness(finding) > *other)
    });
    findings
}
