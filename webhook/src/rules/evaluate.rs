//! The evaluation of the rules of one subject: those that are on, in their order.

use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use super::edits::Edits;
use super::report::{Finding, Report};
use super::rule::Rule;
use super::verdict::Verdict;

/// A rule together with the functions that evaluate it. Each subject has its own type.
pub(super) trait HasRule {
    /// Returns the rule.
    fn rule(&self) -> &'static Rule;

    /// Returns true if the rule also fixes objects.
    fn mutates(&self) -> bool;
}

/// Returns true if the policy does not turn off a rule.
pub(super) fn is_on(policy: &RunPolicy, rule: &Rule) -> bool {
    rule.mode(policy) != Mode::Off
}

/// Validates a request by the rules that are on, and appends those that apply to `evaluated`. `validate` returns true
/// if the rule applies.
pub(super) fn validate<'c, C: HasRule + 'c>(
    policy: &RunPolicy,
    checks: impl IntoIterator<Item = &'c C>,
    evaluated: &mut Vec<&'static Rule>,
    validate: impl Fn(&C, &mut Report) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in checks {
        let rule = check.rule();
        let mode = rule.mode(policy);
        if mode == Mode::Off {
            continue;
        }
        let mut report = Report::new(rule, mode);
        evaluated.extend(validate(check, &mut report).then_some(rule));
        findings.extend(report.into_findings());
    }
    findings
}

/// Fixes an object by the rules that are on, and sets the patch, the warnings and the rules of the verdict. `mutate`
/// returns true if the rule applies.
pub(super) fn mutate<'c, C: HasRule + 'c>(
    policy: &RunPolicy,
    checks: impl IntoIterator<Item = &'c C>,
    object: &Value,
    verdict: &mut Verdict,
    mutate: impl Fn(&C, &mut Edits<'_>) -> bool,
) {
    let mut edits = Edits::new(object);
    for check in checks {
        let rule = check.rule();
        if is_on(policy, rule) {
            verdict.evaluated.extend(mutate(check, &mut edits).then_some(rule));
        }
    }
    (verdict.patch, verdict.warnings) = edits.finish();
}

/// Reports the violations of a state, except those that the state before has too.
pub(super) fn validate_state<S>(
    before: Option<&S>,
    after: &S,
    report: &mut Report,
    validate: impl Fn(&S, &mut Report),
) {
    let mut found = report.another();
    validate(after, &mut found);
    if let Some(before) = before.filter(|_| !found.is_empty()) {
        let mut inherited = report.another();
        validate(before, &mut inherited);
        found.retain_what_is_new(&inherited);
    }
    report.append(found);
}
