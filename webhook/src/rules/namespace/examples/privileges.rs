//! Examples of the rule about Kubernetes labels and annotations that give privileges.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::namespace) const NS018: &[Example] = &[
    Example::new("a person sets a privilege that the policy lists")
        .under("namespaces: {allowedPrivileges: [resource.kubernetes.io/admin-access]}")
        .creates(Object::NewNamespace, "metadata: {labels: {resource.kubernetes.io/admin-access: 'true'}}"),
    Example::new("the platform sets a label that gives access to devices of other Pods")
        .by(Worker)
        .creates(Object::NewNamespace, "metadata: {labels: {resource.kubernetes.io/admin-access: 'true'}}")
        .denied_at(r#"metadata.labels["resource.kubernetes.io/admin-access"]"#),
    Example::new("a person exempts a run namespace from webhooks on AKS")
        .updates(Object::RunNamespace, "", "metadata: {labels: {control-plane: 'true'}}")
        .denied_at(r#"metadata.labels["control-plane"]"#),
    Example::new("a person chooses the nodes of another team")
        .updates(
            Object::RunNamespace,
            "",
            "metadata: {annotations: {scheduler.alpha.kubernetes.io/node-selector: team=payments}}",
        )
        .denied_at(r#"metadata.annotations["scheduler.alpha.kubernetes.io/node-selector"]"#),
];
