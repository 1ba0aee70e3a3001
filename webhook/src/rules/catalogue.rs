//! The catalogue: all rules of all subjects. Nothing in the other files of the rules uses it.

use codex_k8s_shared::policy::{Mode, RunPolicy};

use super::evaluate::HasRule;
use super::rule::Rule;
use super::{contents, namespace, workload};

/// All rules, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let namespace = namespace::checks().map(HasRule::rule);
    let workload = workload::checks().map(HasRule::rule);
    namespace.chain(workload).chain(contents::checks().map(HasRule::rule))
}

/// Returns the rule with an id, regardless of case.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

/// Returns true if a rule also fixes objects.
pub fn mutates(rule: &Rule) -> bool {
    is_among_mutating(namespace::checks(), rule)
        || is_among_mutating(workload::checks(), rule)
        || is_among_mutating(contents::checks(), rule)
}

fn is_among_mutating<'c, C: HasRule + 'c>(mut checks: impl Iterator<Item = &'c C>, rule: &Rule) -> bool {
    checks.any(|check| check.mutates() && check.rule().id == rule.id)
}

/// Returns the consequence of violating a rule in this mode: a participle, to follow "is".
pub(crate) const fn consequence(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "refused",
        Mode::Warn => "only warned about",
        Mode::Audit => "only written down",
        Mode::Off => "not looked at",
    }
}

/// Rejects a policy that sets the mode of an unknown rule.
///
/// # Errors
/// A message with the unknown id and the known ones.
pub fn check_modes(policy: &RunPolicy) -> Result<(), String> {
    match policy.rules.keys().find(|id| all().all(|rule| rule.id != id.as_str())) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<_> = all().map(|rule| rule.id).collect();
            Err(format!("rules.{id}: no rule has this id; the rules are {}", known.join(", ")))
        }
    }
}
