//! Rules about `ClusterRoles` that are bound to all users: every agent has their rights.

use std::collections::{BTreeSet, HashSet};

use codex_k8s_shared::permissions::covers;
use codex_k8s_shared::policy::{Mode, PolicyRule};
use serde_json::Value;

use super::examples::everybody as examples;
use super::role::{read, rules};
use crate::rules::Kind;
use crate::rules::object::{at, items};
use crate::rules::report::{Report, clean, quoted};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};

pub(super) const CHECKS: &[Check] = &[Check::new(&RBAC004, is_not_widened)];

static RBAC004: Rule = Rule {
    id: "RBAC004",
    title: "A ClusterRole that is bound to all users is not extended",
    why: "Kubernetes binds a few ClusterRoles to groups such as system:authenticated. A rule that is added to one of \
          them, directly or by aggregation, is a right of every agent.",
    remedy: "Add the rules to another ClusterRole, and bind that to the subjects that need it. Create a ClusterRole \
             of your own before you list it in rbac.everybody of the policy.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "namespaces.slotProjects",
        "rbac.everybody",
    ],
    default_mode: Mode::Enforce,
    examples: examples::RBAC004,
};

/// Changed rules up to this number are compared by the rights that they grant. Any further one must be identical to an
/// existing rule of the role.
const MOST_COMPARED: usize = 64;

/// Returns true if the policy allows the `ClusterRole` to be bound to all users.
pub(in crate::rules) fn is_listed(context: &Context<'_>) -> bool {
    context.policy.rbac.everybody.iter().any(|listed| listed == context.name)
}

fn is_not_widened(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::ClusterRole, Some(new)) = (context.kind, write.new) else { return };
    let remedy = format!("ClusterRole {} is bound to all users, and so to every agent", quoted(context.name));
    let aggregation = |role: &Value| at(role, &["aggregationRule"]).filter(|rule| !rule.is_null()).cloned();
    let aggregates = aggregation(new);
    if aggregates.is_some() && aggregates != write.old.and_then(aggregation) {
        report.forbid("aggregationRule", clean(&aggregates.unwrap_or_default().to_string()), remedy.as_str());
    }
    let known: HashSet<_> = rules(write.old).collect();
    let existing: Vec<PolicyRule> = rules(write.old).map(read).collect();
    let maximum: Vec<&PolicyRule> = existing.iter().collect();
    let urls: Vec<Urls<'_>> = rules(write.old).map(Urls::of).collect();
    let added = rules(Some(new)).enumerate().filter(|(_, rule)| !known.contains(rule)).enumerate();
    let beyond = added.filter_map(|(index_of_rule, (index, rule))| {
        if index_of_rule >= MOST_COMPARED {
            return Some((index, "a changed rule after many others".to_owned()));
        }
        let permission = covers(&maximum, &read(rule)).err().map(|beyond| beyond.to_string());
        Some((index, permission.or_else(|| Urls::of(rule).beyond(&urls))?))
    });
    for (index, beyond) in beyond.take(MOST_COMPARED) {
        report.forbid(format!("rules[{index}]"), clean(&beyond), remedy.as_str());
    }
}

/// The part of a rule that grants paths of the API server.
struct Urls<'a> {
    urls: BTreeSet<&'a str>,
    verbs: BTreeSet<&'a str>,
}

impl<'a> Urls<'a> {
    fn of(rule: &'a Value) -> Self {
        let strings = |field| items(rule.get(field)).filter_map(Value::as_str).collect();
        Self { urls: strings("nonResourceURLs"), verbs: strings("verbs") }
    }

    fn allows(&self, url: &str, verb: &str) -> bool {
        let matches = |listed: &&str| match listed.strip_suffix('*') {
            Some(start) => url.starts_with(start),
            None => *listed == url,
        };
        (self.verbs.contains("*") || self.verbs.contains(verb)) && self.urls.iter().any(matches)
    }

    /// Returns the first path and verb that none of the rules allow.
    fn beyond(&self, existing: &[Self]) -> Option<String> {
        let evaluated = self.urls.iter().flat_map(|url| self.verbs.iter().map(move |verb| (*url, *verb)));
        let mut refused = evaluated.filter(|(url, verb)| !existing.iter().any(|rule| rule.allows(url, verb)));
        refused.next().map(|(url, verb)| format!("verb {verb:?} on path {url:?}"))
    }
}
