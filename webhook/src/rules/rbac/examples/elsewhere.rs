//! Examples of the rule about bindings elsewhere.

use crate::rules::example::Setting::Unmanaged;
use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::rbac) const RBAC003: &[Example] = &[
    Example::new("a person binds a ServiceAccount of another namespace")
        .within(Unmanaged)
        .creates(Object::ClusterRoleBinding, ""),
    Example::new("the platform gives an agent rights in the whole cluster")
        .within(Unmanaged)
        .by(Worker)
        .creates(
            Object::ClusterRoleBinding,
            "subjects: [{kind: ServiceAccount, name: codex-runner, namespace: codex-issue-7}]",
        )
        .denied_at("subjects[0]"),
    Example::new("a person gives an agent rights in another namespace")
        .within(Unmanaged)
        .creates(Object::RoleBinding, "")
        .denied_at("subjects[0]"),
    Example::new("a person binds all ServiceAccounts, which include every agent")
        .within(Unmanaged)
        .creates(Object::ClusterRoleBinding, "subjects: [{kind: Group, name: 'system:serviceaccounts'}]")
        .denied_at("subjects[0]"),
    Example::new("a person binds a ClusterRole that Kubernetes binds to all users")
        .within(Unmanaged)
        .creates(
            Object::ClusterRoleBinding,
            "roleRef: {name: 'system:discovery'}\nsubjects: [{kind: Group, name: 'system:authenticated'}]",
        ),
];
