//! Rules about the other metadata of a run namespace: keys under codex-k8s.dev/, provenance, finalizers and owners.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::defaults;
use super::examples::metadata as examples;
use super::subject::{Check, Context, Key, Namespace, Validate};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, annotation_path, label_path, quoted, quoted_or_nothing, stays};
use crate::rules::requester::Role;
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&NS009, &[Validate::State(keys_are_known)]),
    Check::new(
        &NS010,
        &[Validate::Creation(requester_is_recorded), Validate::Change(requester_is_immutable)],
    )
    .with_mutation(defaults::provenance)
    .restoring(|_, _, _| vec![Key::Annotation(keys::REQUESTED_BY)]),
    Check::new(
        &NS011,
        &[
            Validate::Creation(no_baseline_at_creation),
            Validate::Creation(nothing_of_the_managers_at_creation),
            Validate::Change(owned_annotations_are_immutable),
        ],
    )
    .restoring(of_other_owners),
    Check::new(&NS012, &[Validate::State(finalizers_and_owners_are_listed)]),
    Check::new(
        &NS013,
        &[
            Validate::Creation(spec_finalizers_are_the_clusters),
            Validate::Change(spec_finalizers_are_immutable),
        ],
    ),
];

static NS009: Rule = Rule {
    id: "NS009",
    title: "Other keys under codex-k8s.dev/ are not allowed",
    why: "A key that looks like the contract's but is never read hides a mistake or a trick.",
    remedy: "Use a key of the contract, or your own domain.",
    subject: Subject::Namespace,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::NS009,
};

static NS010: Rule = Rule {
    id: "NS010",
    title: "The requester of a namespace is recorded at creation and never changes",
    why: "The record proves to the garbage collector that the namespace was created as a managed one, and tells \
          people whom to ask.",
    remedy: "Leave codex-k8s.dev/requested-by out: the user name of the request is used.",
    subject: Subject::Namespace,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::NS010,
};

static NS011: Rule = Rule {
    id: "NS011",
    title: "Only their owners write the platform's annotations",
    why: "If a baseline is marked as ready too early, workloads run without a quota. A forged fingerprint causes \
          another run's environment to be reused.",
    remedy: "Leave these annotations out: managers write correlation-id and runtime-fingerprint-*, the \
             reconciler writes baseline-* and quota-pending-since.",
    subject: Subject::Namespace,
    reads: &[
        "identities.managers",
        "identities.reconcilers",
        "identities.candidateServiceAccounts",
        "namespaces.slotProjects",
    ],
    default_mode: Mode::Enforce,
    examples: examples::NS011,
};

static NS012: Rule = Rule {
    id: "NS012",
    title: "Finalizers and owners must be listed in the policy",
    why: "The cluster deletes a namespace immediately if its owner does not exist. A finalizer that no program \
          removes keeps it for ever.",
    remedy: "Leave metadata.finalizers and metadata.ownerReferences empty, or list the entries in the policy.",
    subject: Subject::Namespace,
    reads: &["namespaces.allowedFinalizers", "namespaces.allowedOwners"],
    default_mode: Mode::Enforce,
    examples: examples::NS012,
};

static NS013: Rule = Rule {
    id: "NS013",
    title: "Only the namespace controller changes spec.finalizers",
    why: "A namespace whose spec.finalizers are emptied is removed without its content, which the next namespace \
          with that name inherits.",
    remedy: "Leave spec.finalizers unchanged. When you delete the namespace, the namespace controller deletes \
             its content.",
    subject: Subject::Namespace,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::NS013,
};

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
        let remedy = format!("must be {}, who asks", quoted(context.requester.user));
        report.forbid(annotation_path(keys::REQUESTED_BY), quoted_or_nothing(found), remedy);
    }
}

fn requester_is_immutable(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    let (before, after) = (old.meta.annotation(keys::REQUESTED_BY), new.meta.annotation(keys::REQUESTED_BY));
    if context.becomes_managed {
        requester_is_recorded(context, new, report);
    } else if before != after {
        let remedy = stays(before);
        report.forbid(annotation_path(keys::REQUESTED_BY), quoted_or_nothing(after), remedy);
    }
}

/// The only value of `spec.finalizers` that any program removes.
const KUBERNETES: &str = "kubernetes";

const MANAGERS: [&str; 4] = [
    keys::CORRELATION_ID,
    keys::RUNTIME_FINGERPRINT_HASH,
    keys::RUNTIME_FINGERPRINT_JSON,
    keys::RUNTIME_FINGERPRINT_UPDATED_AT,
];

fn no_baseline_at_creation(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    for key in defaults::BASELINE {
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
    // A user who may choose the run of a new namespace may also choose its correlation id, but an agent must use that
    // of its own run.
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

/// Returns the annotations that another program than the requester writes.
fn of_other_owners(context: &Context<'_>, _: &Namespace<'_>, _: &Namespace<'_>) -> Vec<Key> {
    let baseline = defaults::BASELINE.into_iter().filter(|_| context.requester.role != Role::Reconciler);
    let managers = MANAGERS.into_iter().filter(|_| !context.requester.is_manager());
    baseline.chain(managers).map(Key::Annotation).collect()
}

fn owned_annotations_are_immutable(
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
            defaults::BASELINE.as_slice(),
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

/// The API server adds its own finalizer and keeps all others, which no program would ever remove.
fn spec_finalizers_are_the_clusters(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    for finalizer in spec_finalizers(namespace.object).filter(|finalizer| *finalizer != KUBERNETES) {
        report.forbid("spec.finalizers", quoted(finalizer), "leave it out: no controller removes it");
    }
}

fn spec_finalizers_are_immutable(
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
    let before = spec_finalizers(old.object).collect::<Vec<_>>().join(", ");
    let remedy = format!(
        "they stay {}; only the namespace controller removes them, once the namespace is being deleted",
        quoted(&before)
    );
    report.forbid("spec.finalizers", quoted(&found), remedy);
}

fn spec_finalizers(object: &Value) -> impl Iterator<Item = &str> {
    items(at(object, &["spec", "finalizers"])).filter_map(Value::as_str)
}
