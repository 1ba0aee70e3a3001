//! Rules about Kubernetes labels and annotations that give a namespace privileges.

use codex_k8s_shared::keys::{KeyKind, PRIVILEGES};
use codex_k8s_shared::policy::Mode;

use super::examples::privileges as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, annotation_path, label_path, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(&NS018, &[Validate::State(no_privilege_is_given)])];

static NS018: Rule = Rule {
    id: "NS018",
    title: "A run namespace has no label or annotation of the cluster that gives privileges",
    why: "Some keys of a Namespace are grants. With resource.kubernetes.io/admin-access, its Pods reach devices that \
          other Pods use; with others, its Pods run on nodes that the cluster reserves for other work. With those \
          that AKS reads, webhooks are not called for it.",
    remedy: "Leave the key out, or list it in namespaces.allowedPrivileges of the policy.",
    subject: Subject::Namespace,
    reads: &["namespaces.allowedPrivileges"],
    default_mode: Mode::Enforce,
    examples: examples::NS018,
};

fn no_privilege_is_given(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let allowed = &context.policy.namespaces.allowed_privileges;
    for privilege in PRIVILEGES.iter().filter(|privilege| !allowed.iter().any(|key| key == privilege.key)) {
        let (found, path) = match privilege.kind {
            KeyKind::Label => (namespace.meta.label(privilege.key), label_path("", privilege.key)),
            KeyKind::Annotation => (namespace.meta.annotation(privilege.key), annotation_path(privilege.key)),
        };
        if let Some(found) = found {
            let remedy =
                format!("it gives {}; not in namespaces.allowedPrivileges of the policy", privilege.gives);
            report.forbid(path, quoted(found), remedy);
        }
    }
}
