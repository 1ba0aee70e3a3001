//! The rest of a run namespace's metadata: keys of the domain, provenance, finalizers and owners.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::metadata as examples;
use super::{Context, Namespace, Validate, defaults};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, annotation_path, label_path, quoted, quoted_or_nothing};
use crate::rules::requester::Role;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "NS009",
        title: "No other key stands under codex-k8s.dev/",
        why: "A key that looks like the contract's but is not read by anybody hides a mistake or a trick.",
        remedy: "Use a key of the contract, or a domain of your own.",
        reads: &[],
        default_mode: Mode::Enforce,
        check: Check::Namespace { validate: &[Validate::State(keys_are_known)], mutate: None },
        examples: examples::NS009,
    },
    Rule {
        id: "NS010",
        title: "Who asked for a namespace is recorded at its birth and never changes",
        why: "The garbage collector proves by it that a namespace was born managed; people find by it whom to ask.",
        remedy: "Leave codex-k8s.dev/requested-by out: it is taken from the request.",
        reads: &[],
        default_mode: Mode::Enforce,
        check: Check::Namespace {
            validate: &[Validate::Creation(requester_is_recorded), Validate::Change(requester_is_kept)],
            mutate: Some(defaults::provenance),
        },
        examples: examples::NS010,
    },
    Rule {
        id: "NS011",
        title: "Annotations of the platform are written by their owners only",
        why: "A baseline that is said to be ready and is not lets workloads run without quota; a forged fingerprint \
              gets a foreign environment reused.",
        remedy: "Leave these annotations alone: correlation-id and runtime-fingerprint-* are the managers', \
                 baseline-* and quota-pending-since are the reconciler's.",
        reads: &[
            "identities.managers",
            "identities.reconcilers",
            "identities.candidateServiceAccounts",
            "namespaces.slotProjects",
        ],
        default_mode: Mode::Enforce,
        check: Check::Namespace {
            validate: &[
                Validate::Creation(no_baseline_at_creation),
                Validate::Creation(nothing_of_the_managers_at_creation),
                Validate::Change(owned_annotations_are_kept),
            ],
            mutate: None,
        },
        examples: examples::NS011,
    },
    Rule {
        id: "NS012",
        title: "Finalizers and owners come from an allow-list",
        why: "An owner that does not exist gets the namespace deleted by the cluster at once; a finalizer that \
              nobody removes keeps it for ever.",
        remedy: "Leave metadata.finalizers and metadata.ownerReferences empty, or list them in the policy.",
        reads: &["namespaces.allowedFinalizers", "namespaces.allowedOwners"],
        default_mode: Mode::Enforce,
        check: Check::Namespace {
            validate: &[Validate::State(finalizers_and_owners_are_listed)],
            mutate: None,
        },
        examples: examples::NS012,
    },
    Rule {
        id: "NS013",
        title: "spec.finalizers are the namespace controller's",
        why: "A namespace whose spec.finalizers were emptied is removed without its content, which the next \
              namespace of that name inherits.",
        remedy: "Leave spec.finalizers alone; delete the namespace and the namespace controller empties it.",
        reads: &[],
        default_mode: Mode::Enforce,
        check: Check::Namespace {
            validate: &[
                Validate::Creation(spec_finalizers_are_the_clusters),
                Validate::Change(spec_finalizers_are_kept),
            ],
            mutate: None,
        },
        examples: examples::NS013,
    },
];

fn keys_are_known(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let remedy = "the contract knows no such key";
    for (key, value) in namespace.meta.labels() {
        if keys::is_legacy(key) || (keys::in_domain(key) && !keys::is_known_label(key)) {
            report.forbid(label_path("", key), quoted_or_nothing(value.as_str()), remedy);
        }
    }
    for (key, value) in namespace.meta.annotations() {
        if keys::is_legacy(key) || (keys::in_domain(key) && !keys::is_known_annotation(key)) {
            report.forbid(annotation_path(key), quoted_or_nothing(value.as_str()), remedy);
        }
    }
}

fn requester_is_recorded(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let found = namespace.meta.annotation(keys::REQUESTED_BY);
    if found != Some(context.requester.user) {
        let remedy = format!("expected {}, who asks", quoted(context.requester.user));
        report.forbid(annotation_path(keys::REQUESTED_BY), quoted_or_nothing(found), remedy);
    }
}

fn requester_is_kept(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    let (before, after) = (old.meta.annotation(keys::REQUESTED_BY), new.meta.annotation(keys::REQUESTED_BY));
    if context.becomes_managed {
        requester_is_recorded(context, new, report);
    } else if before != after {
        let remedy = format!("it stays {}", quoted_or_nothing(before));
        report.forbid(annotation_path(keys::REQUESTED_BY), quoted_or_nothing(after), remedy);
    }
}

/// The only value of `spec.finalizers` that anybody removes.
const KUBERNETES: &str = "kubernetes";

pub(super) const BASELINE: [&str; 4] =
    [keys::BASELINE_READY_AT, keys::BASELINE_HASH, keys::BASELINE_WAITS_FOR, keys::QUOTA_PENDING_SINCE];
const MANAGERS: [&str; 4] = [
    keys::CORRELATION_ID,
    keys::RUNTIME_FINGERPRINT_HASH,
    keys::RUNTIME_FINGERPRINT_JSON,
    keys::RUNTIME_FINGERPRINT_UPDATED_AT,
];

fn no_baseline_at_creation(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    for key in BASELINE {
        if let Some(found) = namespace.meta.annotation(key) {
            report.forbid(annotation_path(key), quoted(found), "only the reconciler writes it, later");
        }
    }
}

fn nothing_of_the_managers_at_creation(
    context: &Context<'_>,
    namespace: &Namespace<'_>,
    report: &mut Report,
) {
    // Whoever may name the run of a new namespace may name its correlation id, but an agent speaks for no other run.
    let free = |key, found| {
        key == keys::CORRELATION_ID
            && (context.requester.role != Role::Agent || Some(found) == namespace.meta.label(keys::RUN_ID))
    };
    for key in MANAGERS.into_iter().filter(|_| !context.requester.is_manager()) {
        if let Some(found) = namespace.meta.annotation(key).filter(|found| !free(key, found)) {
            report.forbid(annotation_path(key), quoted(found), "only a manager writes it");
        }
    }
}

fn owned_annotations_are_kept(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if context.becomes_managed {
        no_baseline_at_creation(context, new, report);
    }
    let owned = [
        (
            BASELINE.as_slice(),
            context.becomes_managed || context.requester.role == Role::Reconciler,
            "the reconciler",
        ),
        (MANAGERS.as_slice(), context.requester.is_manager(), "a manager"),
    ];
    for (keys, is_owner, owner) in owned {
        for key in keys.iter().filter(|_| !is_owner) {
            let after = new.meta.annotation(key);
            if old.meta.annotation(key) != after {
                report.forbid(
                    annotation_path(key),
                    quoted_or_nothing(after),
                    format!("only {owner} changes it"),
                );
            }
        }
    }
}

fn finalizers_and_owners_are_listed(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let listed = &context.policy.namespaces;
    for finalizer in namespace.meta.finalizers() {
        if !listed.allowed_finalizers.iter().any(|allowed| allowed == finalizer) {
            let remedy = "not in namespaces.allowedFinalizers of the policy";
            report.forbid("metadata.finalizers", quoted(finalizer), remedy);
        }
    }
    for owner in namespace.meta.owners() {
        let part = |key| text(owner, key).unwrap_or_default();
        let kind = format!("{}/{}", part("apiVersion"), part("kind"));
        if !listed.allowed_owners.contains(&kind) {
            let found = quoted(&format!("{kind} {}", part("name")));
            report.forbid("metadata.ownerReferences", found, "not in namespaces.allowedOwners of the policy");
        }
    }
}

/// The API server adds its own, and keeps whatever else it is given: nobody would ever remove that.
fn spec_finalizers_are_the_clusters(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    for finalizer in spec_finalizers(namespace.object).filter(|finalizer| *finalizer != KUBERNETES) {
        report.forbid("spec.finalizers", quoted(finalizer), "leave it out: nobody removes it");
    }
}

fn spec_finalizers_are_kept(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if context.becomes_managed {
        spec_finalizers_are_the_clusters(context, new, report);
    }
    if spec_finalizers(old.object).eq(spec_finalizers(new.object)) {
        return;
    }
    let found = spec_finalizers(new.object).collect::<Vec<_>>().join(", ");
    let kept = spec_finalizers(old.object).collect::<Vec<_>>().join(", ");
    let remedy = format!(
        "they stay {}; only the namespace controller removes them, once the namespace is being deleted",
        quoted(&kept)
    );
    report.forbid("spec.finalizers", quoted(&found), remedy);
}

fn spec_finalizers(object: &Value) -> impl Iterator<Item = &str> {
    items(at(object, &["spec", "finalizers"])).filter_map(Value::as_str)
}
