//! The baseline's own objects: who writes and who deletes them.

use codex_k8s_shared::baseline::{changes, desired_object};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::baseline as examples;
use super::{Context, Write};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::at;
use crate::rules::report::{Report, clean, label_path, quoted, quoted_or_nothing};
use crate::rules::{Edits, Kind, Meta};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "BASE001",
        title: "The baseline is written by the platform and says what the policy says",
        why: "ServiceAccount, Role, RoleBinding, ResourceQuota and LimitRange are what a run is held by. Whoever \
              could edit them, or take their label away, would let it loose; and two programs that put their own \
              values into one object would do so for ever.",
        remedy: "Leave them to codex-k8s-guard reconcile; change the policy's baseline instead. Use another name for \
                 an object of your own, without the label codex-k8s.dev/managed-by.",
        reads: &[
            "identities.managers",
            "identities.reconcilers",
            "identities.namespaceControllers",
            "identities.workloadControllers",
            "namespaces.slotProjects",
            "baseline",
        ],
        default_mode: Mode::Enforce,
        check: Check::Guard { validate: only_the_platform_writes, mutate: Some(set_to_the_policys) },
        examples: examples::BASE001,
    },
    Rule {
        id: "BASE002",
        title: "The baseline is deleted by the platform, or with its namespace",
        why: "Without its quota a run takes what it can get, until the reconciler has made a new one.",
        remedy: "Leave the baseline in place, or delete the namespace.",
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
        check: Check::Guard { validate: only_the_platform_deletes, mutate: None },
        examples: examples::BASE002,
    },
    Rule {
        id: "BASE003",
        title: "A ResourceQuota's status is written by the cluster",
        why: "The status is what Kubernetes counts against: whoever writes that nothing is used, or that more is \
              allowed, has no quota. It carries the labels along as well.",
        remedy: "Leave the status to the cluster's quota controller; identities.quotaControllers of the policy lists \
                 the names it goes by.",
        reads: &["identities.quotaControllers"],
        default_mode: Mode::Enforce,
        check: Check::Guard { validate: only_the_cluster_counts, mutate: None },
        examples: examples::BASE003,
    },
];

const KEEPERS: &str = "only the platform's managers and the baseline reconciler";

fn only_the_platform_writes(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Some(namespace), Some(new)) = (context.namespace(), write.new) else { return };
    if context.status || context.by_keeper() || !context.is_baseline(write) {
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
    if namespace.terminating || context.by_keeper() || !context.is_baseline(write) {
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

/// What a manager writes becomes what the policy says, where the policy wants such an object.
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
    let differences = desired_object.differences(new);
    for (field, value) in desired_object.fields() {
        // It cannot be changed: another one is for the reconciler to replace, object and all.
        let stays = field == "roleRef" && write.old.is_some_and(|old| old.get(field) != Some(value));
        if !stays && differences.iter().any(|difference| difference.path.starts_with(field)) {
            edits.set(&[field], value.clone());
        }
    }
    if Meta::of(new).label(keys::MANAGED_BY) != Some(keys::MANAGED_BY_VALUE) {
        edits.label(&[], keys::MANAGED_BY, keys::MANAGED_BY_VALUE);
    }
}
