//! Rules about writing and deleting the objects of the baseline.

use codex_k8s_shared::baseline::{changes, desired_object};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::objects as examples;
use super::replaced;
use crate::rules::object::at;
use crate::rules::report::{Report, clean, label_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};
use crate::rules::{Edits, Kind, Meta};

pub(in crate::rules) const CHECKS: &[Check] = &[
    Check::new(&BASE001, only_the_platform_writes).with_mutation(set_to_the_policys),
    Check::new(&BASE002, only_the_platform_deletes),
    Check::new(&BASE003, only_the_cluster_counts),
];

static BASE001: Rule = Rule {
    id: "BASE001",
    title: "Only the platform writes the baseline, with the policy's values",
    why: "ServiceAccount, Role, RoleBinding, ResourceQuota and LimitRange confine a run. A user who can edit \
          them, or remove their label, can lift the limits. And two programs that write different values to one \
          object would never stop.",
    remedy: "Let codex-k8s-guard reconcile write them; change the baseline in the policy instead. For an object \
             of your own, use another name and leave out the label codex-k8s.dev/managed-by.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "namespaces.slotProjects",
        "baseline",
    ],
    default_mode: Mode::Enforce,
    examples: examples::BASE001,
};

static BASE002: Rule = Rule {
    id: "BASE002",
    title: "Only the platform deletes the baseline, except with its namespace",
    why: "Without its quota, a run can use any amount until the reconciler has recreated it.",
    remedy: "Leave the baseline in place, or delete the namespace.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "baseline.*.resourceQuota.name",
        "baseline.*.limitRange.name",
        "baseline.*.serviceAccount",
        "baseline.*.role",
        "baseline.*.roleBinding",
    ],
    default_mode: Mode::Enforce,
    examples: examples::BASE002,
};

static BASE003: Rule = Rule {
    id: "BASE003",
    title: "Only the cluster writes the status of a ResourceQuota",
    why: "Kubernetes counts against the status: a user who can write that nothing is used, or that more is \
          allowed, has no quota. A write to the status can also change the labels.",
    remedy: "Leave the status to the cluster's quota controller; identities.quotaControllers of the policy lists \
             its user names.",
    subject: Subject::Contents,
    reads: &["identities.quotaControllers"],
    default_mode: Mode::Enforce,
    examples: examples::BASE003,
};

const KEEPERS: &str = "only the platform's managers and the baseline reconciler";

fn only_the_platform_writes(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Some(namespace), Some(new)) = (context.namespace(), write.new) else { return };
    if context.status || context.maintains_baseline() || !context.is_baseline(write) {
        return;
    }
    let Some(old) = write.old else {
        let (path, found) = if context.has_baseline_name() {
            ("metadata.name".to_owned(), quoted(context.name))
        } else {
            let label = Meta::of(new).label(keys::MANAGED_BY);
            (label_path("", keys::MANAGED_BY), quoted_or_nothing(label))
        };
        let remedy = format!("{KEEPERS} make baseline objects in namespace {}", namespace.name);
        return report.forbid(path, found, remedy);
    };
    if let Some(change) = changes(old, new).into_iter().next() {
        let remedy = format!("{KEEPERS} change the baseline; it stays {}", clean(&change.desired));
        report.forbid(clean(&change.path), clean(&change.found), remedy);
    }
}

fn only_the_platform_deletes(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Some(namespace), Some(_), None) = (context.namespace(), write.old, write.new) else { return };
    if namespace.terminating || context.maintains_baseline() || !context.is_baseline(write) {
        return;
    }
    let remedy = format!("{KEEPERS} delete the baseline of namespace {}", namespace.name);
    report.forbid("metadata.name", quoted(context.name), remedy);
}

fn only_the_cluster_counts(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::ResourceQuota, true, Some(_)) = (context.kind, context.status, context.namespace()) else {
        return;
    };
    let (Some(old), Some(new)) = (write.old, write.new) else { return };
    let cluster = &context.policy.identities.quota_controllers;
    if cluster.contains(context.requester.user, context.groups.iter().copied()) {
        return;
    }
    let status = |object: &Value| at(object, &["status"]).cloned();
    let found = match changes(old, new).into_iter().next() {
        Some(change) => Some((clean(&change.path), clean(&change.found))),
        None if status(old) != status(new) => {
            let found = status(new).map_or_else(|| "nothing".to_owned(), |status| clean(&status.to_string()));
            Some(("status".to_owned(), found))
        }
        None => None,
    };
    if let Some((path, found)) = found {
        report.forbid(path, found, "only the cluster's quota controller writes it");
    }
}

/// Replaces values that a manager writes with those of the policy, if the policy has such an object.
fn set_to_the_policys(context: &Context<'_>, write: &Write<'_>, edits: &mut Edits<'_>) {
    let (Some(kind), Some(namespace), Some(new)) = (context.baseline_kind(), context.namespace(), write.new)
    else {
        return;
    };
    if context.status || !context.requester.is_manager() {
        return;
    }
    let Some(desired_object) =
        desired_object(context.policy, &namespace.name, namespace.mode, kind, context.name)
    else {
        return;
    };
    let mut differences = desired_object.differences(new);
    for (field, value) in desired_object.fields() {
        // A roleRef is immutable: the reconciler replaces the whole object.
        if field == "roleRef" && write.old.is_some_and(|old| old.get(field) != Some(value)) {
            differences.retain(|difference| !difference.path.starts_with(field));
        }
        if differences.iter().any(|difference| difference.path.starts_with(field)) {
            edits.set(&[field], value.clone());
        }
    }
    replaced::warn(&BASE001, context, write, kind, &differences, edits);
    for (key, value) in desired_object.annotations() {
        if Meta::of(new).annotation(key) != Some(value) {
            edits.annotation(&[], key, value);
        }
    }
    if Meta::of(new).label(keys::MANAGED_BY) != Some(keys::MANAGED_BY_VALUE) {
        edits.label(&[], keys::MANAGED_BY, keys::MANAGED_BY_VALUE);
    }
}
