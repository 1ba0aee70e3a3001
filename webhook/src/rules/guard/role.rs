//! What a Role in a run namespace may grant.

use codex_k8s_shared::baseline::maximum;
use codex_k8s_shared::permissions::covers;
use codex_k8s_shared::policy::{Mode, PolicyRule};
use serde_json::Value;

use super::{Context, Write};
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
    let granted: Vec<_> = rules(write.old).map(read).collect();
    let mut maximum = maximum(context.policy, namespace.mode, context.is_in_slot());
    // What the Role grants already, this update does not bring.
    maximum.extend(&granted);
    let remedy =
        || format!("expected no more than the profiles' rules grant in namespace {}", namespace.name);
    for (index, rule) in rules(Some(new)).enumerate() {
        let path = format!("rules[{index}]");
        if items(rule.get("nonResourceURLs")).next().is_some() && rules(write.old).all(|old| old != rule) {
            let found = clean(&rule["nonResourceURLs"].to_string());
            report.forbid(
                format!("{path}.nonResourceURLs"),
                found,
                "a Role is about its namespace; leave them out",
            );
        }
        if let Err(beyond) = covers(&maximum, &read(rule)) {
            report.forbid(path, clean(&beyond.to_string()), remedy());
        }
    }
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
