//! Permissions of the rules of a Role, and a check that they are covered by other rules.
//!
//! Rules are compared by what the authorizer allows, not by how they are written. Wildcards also match everything
//! that will ever exist: only `*` covers `*`, even if a list names everything that exists today. As in Kubernetes, a
//! request is allowed if one rule allows it, `*` as a resource includes every subresource, `pods` does not include
//! `pods/log`, `*/scale` includes that subresource of every resource, and `pods/*` is not a pattern.

use std::collections::HashSet;
use std::fmt;

use crate::policy::PolicyRule;

const ALL: &str = "*";

/// A permission of a rule; `*` stands for all present and future values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The resource, with its subresource as in `pods/log`.
    pub resource: &'a str,
    /// The verb.
    pub verb: &'a str,
    /// The object that it is limited to; `None` for all, and for requests without a name.
    pub name: Option<&'a str>,
}

impl fmt::Display for Permission<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb, name } = self;
        write!(out, "verb {verb:?} on {resource:?}")?;
        if !group.is_empty() {
            write!(out, " of group {group:?}")?;
        }
        name.map_or(Ok(()), |name| write!(out, " named {name:?}"))
    }
}

/// Checks that `maximum` allows everything that `requested` does. The time is linear in the length of `requested`,
/// not in the product of its lists, because the requester may be hostile; the author of the maximum is not.
///
/// # Errors
/// The first permission that no rule of the maximum allows.
pub fn covers<'a>(maximum: &[&PolicyRule], requested: &'a PolicyRule) -> Result<(), Permission<'a>> {
    let groups =
        classes(maximum, texts(&requested.api_groups), |rule, group| allows(&rule.api_groups, group));
    let resources = classes(maximum, texts(&requested.resources), allows_resource);
    let verbs = classes(maximum, texts(&requested.verbs), |rule, verb| allows(&rule.verbs, verb));
    let names = classes(maximum, names(requested), |rule, name| allows_name(rule, name));
    for (group, of_group) in &groups {
        for (resource, of_resource) in &resources {
            for (verb, of_verb) in &verbs {
                for (name, of_name) in &names {
                    let rules = of_group.iter().zip(of_resource).zip(of_verb.iter().zip(of_name));
                    let mut allowing =
                        rules.map(|((group, resource), (verb, name))| group & resource & verb & name);
                    if !allowing.any(|allows| allows) {
                        return Err(Permission { group, resource, verb, name: *name });
                    }
                }
            }
        }
    }
    Ok(())
}

/// For each rule of the maximum, true if it allows a value regardless of the other fields.
type Allowing = Vec<bool>;

/// The first value of each class. Values that no rule of the maximum distinguishes are in the same class.
fn classes<T: Copy>(
    maximum: &[&PolicyRule],
    values: impl Iterator<Item = T>,
    allows: impl Fn(&PolicyRule, T) -> bool,
) -> Vec<(T, Allowing)> {
    let mut seen = HashSet::new();
    let allowing = |value| maximum.iter().map(|rule| allows(rule, value)).collect::<Allowing>();
    values
        .map(|value| (value, allowing(value)))
        .filter(|(_, allowing)| seen.insert(allowing.clone()))
        .collect()
}

fn texts(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str)
}

/// The names of a rule; a rule without names applies to all.
fn names(rule: &PolicyRule) -> impl Iterator<Item = Option<&str>> {
    let unnamed = rule.resource_names.is_empty().then_some(None);
    unnamed.into_iter().chain(texts(&rule.resource_names).map(Some))
}

fn allows(listed: &[String], requested: &str) -> bool {
    texts(listed).any(|listed| listed == ALL || listed == requested)
}

fn allows_resource(rule: &PolicyRule, requested: &str) -> bool {
    let subresource = requested.split_once('/').map(|(_, subresource)| subresource);
    let of_all = |listed: &str| {
        let listed = listed.strip_prefix("*/");
        listed.is_some() && listed == subresource
    };
    texts(&rule.resources).any(|listed| listed == ALL || listed == requested || of_all(listed))
}

fn allows_name(rule: &PolicyRule, requested: Option<&str>) -> bool {
    rule.resource_names.is_empty()
        || requested.is_some_and(|requested| texts(&rule.resource_names).any(|listed| listed == requested))
}

#[cfg(test)]
mod tests;
