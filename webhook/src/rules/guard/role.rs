//! What a Role in a run namespace may grant.

use std::collections::HashSet;

use codex_k8s_shared::baseline::maximum;
use codex_k8s_shared::permissions::covers;
use codex_k8s_shared::policy::{Mode, PolicyRule};
use serde_json::Value;

use super::{Context, MOST_TOLD, Write};
use crate::rules::Kind;
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::{at, items};
use crate::rules::report::{Report, clean};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "RBAC001",
    title: "A Role grants no more than the access profiles do",
    why: "A run that holds a stronger Role reads Secrets, takes other ServiceAccounts' tokens, or grants itself the \
          rest. What counts is what the authorizer would allow, wildcards and subresources included.",
    remedy: "Leave out what baseline.candidate.rules and baseline.readOnly.rules of the policy do not grant. In a \
             namespace without access, a Role grants nothing.",
    default_mode: Mode::Enforce,
    check: Check::Guard { judge: grants_no_more, mend: None },
}];

fn grants_no_more(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::Role, Some(namespace), Some(new)) = (context.kind, context.namespace(), write.new) else {
        return;
    };
    if context.is_the_platforms() {
        return;
    }
    let maximum = maximum(context.policy, namespace.mode, context.is_in_slot());
    let known: HashSet<_> = rules(write.old).collect();
    let remedy = format!("expected no more than the profiles' rules grant in namespace {}", namespace.name);
    let added = || rules(Some(new)).enumerate().filter(|(_, rule)| !known.contains(rule));
    let urls = added().filter_map(|(index, rule)| Some((index, at(rule, &["nonResourceURLs"])?)));
    for (index, urls) in urls.filter(|(_, urls)| items(Some(urls)).next().is_some()).take(MOST_TOLD) {
        let path = format!("rules[{index}].nonResourceURLs");
        report.forbid(path, clean(&urls.to_string()), "a Role is about its namespace; leave them out");
    }
    let beyond = added().filter_map(|(index, rule)| Some((index, beyond(&maximum, &read(rule), write.old)?)));
    for (index, beyond) in beyond.take(MOST_TOLD) {
        report.forbid(format!("rules[{index}]"), clean(&beyond), remedy.as_str());
    }
}

/// What a rule grants beyond the maximum, and beyond what the Role grants already: that, an update does not bring.
fn beyond(maximum: &[&PolicyRule], asked: &PolicyRule, old: Option<&Value>) -> Option<String> {
    let beyond = covers(maximum, asked).err()?;
    let granted: Vec<_> = rules(old).map(read).collect();
    if granted.is_empty() {
        return Some(beyond.to_string());
    }
    let both: Vec<_> = maximum.iter().copied().chain(&granted).collect();
    covers(&both, asked).err().map(|beyond| beyond.to_string())
}

fn rules(role: Option<&Value>) -> impl Iterator<Item = &Value> {
    items(role.and_then(|role| at(role, &["rules"])))
}

fn read(rule: &Value) -> PolicyRule {
    let strings = |field| items(rule.get(field)).filter_map(Value::as_str).map(str::to_owned).collect();
    PolicyRule {
        api_groups: strings("apiGroups"),
        resources: strings("resources"),
        verbs: strings("verbs"),
        resource_names: strings("resourceNames"),
    }
}
