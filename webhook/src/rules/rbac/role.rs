//! Rules about Roles in a run namespace.

use std::collections::HashSet;

use codex_k8s_shared::baseline::maximum;
use codex_k8s_shared::permissions::covers;
use codex_k8s_shared::policy::{Mode, PolicyRule};
use serde_json::Value;

use super::examples::role as examples;
use crate::rules::Kind;
use crate::rules::object::{at, items};
use crate::rules::report::{Report, clean};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};

pub(super) const CHECKS: &[Check] = &[Check::new(&RBAC001, grants_no_more)];

static RBAC001: Rule = Rule {
    id: "RBAC001",
    title: "A Role does not grant more than the access profiles",
    why: "A run with a stronger Role can read Secrets, request tokens of other ServiceAccounts, or grant itself \
          everything else. Rights are compared as the authorizer evaluates them, including wildcards and \
          subresources.",
    remedy: "Leave out the rights that baseline.candidate.rules and baseline.readOnly.rules of the policy do not \
             grant. In a namespace without an access profile, a Role must not grant anything.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "namespaces.slotProjects",
        "baseline.*.access",
        "baseline.*.rules",
    ],
    default_mode: Mode::Enforce,
    examples: examples::RBAC001,
};

/// The maximum number of rules of a Role in a run namespace, and of groups, resources, verbs and names in all of them.
/// Comparing a Role costs its values times its rules; the platform's own largest Role has ten rules.
const MOST_RULES: usize = 256;
const MOST_VALUES: usize = 2_000;

fn grants_no_more(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::Role, Some(namespace), Some(new)) = (context.kind, context.namespace(), write.new) else {
        return;
    };
    if context.is_the_platforms() {
        return;
    }
    let known: HashSet<_> = rules(write.old).collect();
    let added: Vec<_> = rules(Some(new)).enumerate().filter(|(_, rule)| !known.contains(rule)).collect();
    if !added.is_empty()
        && let Some((found, most)) = beyond_size(new)
    {
        return report.invalid("rules", found, format!("must be at most {most}"));
    }
    for (index, rule) in &added {
        let urls = at(rule, &["nonResourceURLs"]).filter(|urls| items(Some(urls)).next().is_some());
        if let Some(urls) = urls {
            let path = format!("rules[{index}].nonResourceURLs");
            report.forbid(path, clean(&urls.to_string()), "a Role is about its namespace; leave them out");
        }
    }
    let profiles = maximum(context.policy, namespace.mode, context.is_in_slot());
    // Rights that the old Role already grants are not new. An old Role that is too large to compare does not count.
    let existing: Vec<_> = match write.old {
        Some(old) if beyond_size(old).is_none() => rules(Some(old)).map(read).collect(),
        _ => Vec::new(),
    };
    let both: Vec<_> = profiles.iter().copied().chain(&existing).collect();
    let remedy = format!("must grant no more than the profiles' rules in namespace {}", namespace.name);
    for (index, rule) in added {
        let evaluated = read(rule);
        if let Err(beyond) = covers(&both, &evaluated) {
            report.forbid(format!("rules[{index}]"), clean(&beyond.to_string()), remedy.as_str());
        }
    }
}

/// Returns the excess size of a Role and the limit, if it is too large.
fn beyond_size(role: &Value) -> Option<(String, usize)> {
    const LISTS: [&str; 4] = ["apiGroups", "resources", "verbs", "resourceNames"];
    let count = rules(Some(role)).count();
    if count > MOST_RULES {
        return Some((format!("{count} rules"), MOST_RULES));
    }
    let values = |rule: &Value| LISTS.iter().map(|list| items(rule.get(list)).count()).sum::<usize>();
    let values: usize = rules(Some(role)).map(values).sum();
    (values > MOST_VALUES).then(|| (format!("{values} groups, resources, verbs and names"), MOST_VALUES))
}

pub(super) fn rules(role: Option<&Value>) -> impl Iterator<Item = &Value> {
    items(role.and_then(|role| at(role, &["rules"])))
}

pub(super) fn read(rule: &Value) -> PolicyRule {
    let strings = |field| items(rule.get(field)).filter_map(Value::as_str).map(str::to_owned).collect();
    PolicyRule {
        api_groups: strings("apiGroups"),
        resources: strings("resources"),
        verbs: strings("verbs"),
        resource_names: strings("resourceNames"),
    }
}
