//! Examples of the rule about what a RoleBinding in a run namespace binds.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::rbac) const RBAC002: &[Example] = &[
    Example::new("a person binds a Role of the profiles to a ServiceAccount of the namespace")
        .creates(Object::RoleBinding, ""),
    Example::new("the platform binds the ClusterRole admin")
        .by(Worker)
        .creates(Object::RoleBinding, "roleRef: {kind: ClusterRole, name: admin}")
        .denied_at("roleRef"),
    Example::new("a person binds a Role to all users")
        .creates(Object::RoleBinding, "subjects: [{kind: Group, name: 'system:authenticated'}]")
        .denied_at("subjects[0]"),
    Example::new("a person binds a Role to a group that the policy lists")
        .under("rbac: {subjects: {groups: [sre]}}")
        .creates(Object::RoleBinding, "subjects: [{kind: Group, name: sre}]"),
];
