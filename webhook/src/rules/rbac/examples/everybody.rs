//! Examples of the rule about `ClusterRoles` that are bound to all users.

use crate::rules::example::Setting::Unmanaged;
use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

const SECRETS: &str = "rules: [
    {nonResourceURLs: [/api, /api/*], verbs: [get]},
    {apiGroups: [''], resources: [secrets], verbs: [get]}]";

pub(in crate::rules::rbac) const RBAC004: &[Example] =
    &[
        Example::new("a person adds a part of the rights that the ClusterRole already grants")
            .within(Unmanaged)
            .updates(Object::ClusterRole, "", "rules: [{nonResourceURLs: [/api/v1], verbs: [get]}]"),
        Example::new("the platform lets all users read all Secrets")
            .within(Unmanaged)
            .by(Worker)
            .updates(Object::ClusterRole, "", SECRETS)
            .denied_at("rules[1]"),
        Example::new("a person adds the rules of other ClusterRoles by aggregation")
            .within(Unmanaged)
            .updates(
                Object::ClusterRole,
                "",
                "aggregationRule: {clusterRoleSelectors: [{matchLabels: {example.com/discovery: 'true'}}]}",
            )
            .denied_at("aggregationRule"),
        Example::new("a person changes a ClusterRole that is not bound to all users")
            .within(Unmanaged)
            .updates(Object::ClusterRole, "metadata: {name: deployer}", SECRETS),
    ];
