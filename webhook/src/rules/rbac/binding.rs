//! Rules about `RoleBindings` in a run namespace.

use std::collections::HashSet;

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::binding as examples;
use crate::rules::Kind;
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};

pub(super) const CHECKS: &[Check] = &[Check::new(&RBAC002, binds_what_is_allowed)];

static RBAC002: Rule = Rule {
    id: "RBAC002",
    title: "A RoleBinding binds only Roles of the access profiles, to ServiceAccounts of the namespace",
    why: "An agent that is bound to cluster-admin, admin or edit controls its namespace and can impersonate its \
          ServiceAccounts. If the agent's Role is bound to a group such as system:authenticated, everyone has it.",
    remedy: "Bind a Role of the access profiles to a ServiceAccount of the namespace, or list further roles and \
             subjects under rbac in the policy.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "namespaces.slotProjects",
        "rbac.roles",
        "rbac.clusterRoles",
        "rbac.subjects",
        "baseline.*.role",
    ],
    default_mode: Mode::Enforce,
    examples: examples::RBAC002,
};

fn binds_what_is_allowed(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::RoleBinding, Some(namespace), Some(new)) = (context.kind, context.namespace(), write.new)
    else {
        return;
    };
    if context.is_the_platforms() {
        return;
    }
    let role = |binding: &Value| at(binding, &["roleRef"]).cloned().unwrap_or_default();
    let bound = role(new);
    if write.old.map(role).as_ref() != Some(&bound) {
        check_role(context, &bound, report);
    }
    let strangers = new_subjects(write).filter(|(_, subject)| !is_allowed(context, &namespace.name, subject));
    for (index, subject) in strangers {
        let remedy = format!(
            "must be a ServiceAccount of namespace {}, or a subject that rbac.subjects of the policy lists",
            namespace.name
        );
        report.forbid(format!("subjects[{index}]"), shown(subject), remedy);
    }
}

/// Returns the subjects that a write adds, each with its index. There may be thousands of old and new ones.
pub(super) fn new_subjects<'a>(write: &Write<'a>) -> impl Iterator<Item = (usize, &'a Value)> {
    let subjects = |binding: Option<&'a Value>| items(binding.and_then(|binding| binding.get("subjects")));
    let known: HashSet<_> = subjects(write.old).collect();
    subjects(write.new).enumerate().filter(move |(_, subject)| !known.contains(subject))
}

fn check_role(context: &Context<'_>, role: &Value, report: &mut Report) {
    let rbac = &context.policy.rbac;
    let (kind, name) = (text(role, "kind").unwrap_or_default(), text(role, "name").unwrap_or_default());
    let mut roles: Vec<_> = names(context.policy, BaselineKind::Role).collect();
    roles.extend(rbac.roles.iter().map(String::as_str));
    let allowed = match kind {
        "Role" => roles.contains(&name),
        "ClusterRole" => rbac.cluster_roles.iter().any(|listed| listed == name),
        _ => false,
    };
    if !allowed {
        let clusters = rbac.cluster_roles.iter().map(|name| format!("ClusterRole {name}"));
        let expected: Vec<_> = roles.iter().map(|name| format!("Role {name}")).chain(clusters).collect();
        report.forbid("roleRef", shown(role), format!("must be {}", expected.join(" or ")));
    }
}

fn is_allowed(context: &Context<'_>, namespace: &str, subject: &Value) -> bool {
    let listed = &context.policy.rbac.subjects;
    let Some(name) = text(subject, "name") else { return false };
    let is_in = |list: &[String]| list.iter().any(|listed| listed == name);
    match text(subject, "kind") {
        Some("ServiceAccount") => text(subject, "namespace") == Some(namespace),
        Some("User") => is_in(&listed.users),
        Some("Group") => is_in(&listed.groups),
        _ => false,
    }
}

/// Formats a subject or a role for a message.
pub(super) fn shown(reference: &Value) -> String {
    let field = |name| text(reference, name).map(quoted);
    let Some(name) = field("name") else { return "nothing".to_owned() };
    let kind = match text(reference, "kind") {
        Some(kind @ ("Role" | "ClusterRole" | "ServiceAccount" | "User" | "Group")) => kind.to_owned(),
        Some(other) => quoted(other),
        None => "something".to_owned(),
    };
    let suffix = field("namespace").map_or(String::new(), |namespace| format!(" of namespace {namespace}"));
    format!("{kind} {name}{suffix}")
}
