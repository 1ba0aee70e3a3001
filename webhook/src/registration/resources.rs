//! The requests that the webhook configurations select by resource, operation and the label of the namespace. The match
//! conditions, which the API server evaluates on the objects, are not included.

use std::collections::BTreeSet;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::{Endpoint, configurations};
use crate::review::Operation;

/// The selected requests.
#[derive(Debug)]
pub(crate) struct Resources {
    mutating: BTreeSet<String>,
    validating: BTreeSet<String>,
}

impl Resources {
    /// Returns the requests that the configurations of a policy select.
    pub(crate) fn of(policy: &RunPolicy) -> Self {
        let (mutating, validating) = configurations(policy, &Endpoint::Url(String::new()), None);
        Self { mutating: selected(&mutating), validating: selected(&validating) }
    }

    /// Returns true if the webhook mutates such requests.
    pub(crate) fn mutates(
        &self,
        operation: Operation,
        group: &str,
        resource: &str,
        is_managed: bool,
    ) -> bool {
        contains(&self.mutating, operation, group, resource, is_managed)
    }

    /// Returns true if the webhook validates such requests.
    pub(crate) fn validates(
        &self,
        operation: Operation,
        group: &str,
        resource: &str,
        is_managed: bool,
    ) -> bool {
        contains(&self.validating, operation, group, resource, is_managed)
    }
}

fn contains(
    selected: &BTreeSet<String>,
    operation: Operation,
    group: &str,
    resource: &str,
    is_managed: bool,
) -> bool {
    selected.contains(&key(operation.as_str(), group, resource, is_managed))
}

fn key(operation: &str, group: &str, resource: &str, is_managed: bool) -> String {
    format!("{operation} {group}/{resource} {is_managed}")
}

fn selected(configuration: &Value) -> BTreeSet<String> {
    let mut selected = BTreeSet::new();
    for webhook in items(configuration, "webhooks") {
        let operator =
            webhook.pointer("/namespaceSelector/matchExpressions/0/operator").and_then(Value::as_str);
        let in_namespaces: &[bool] = match operator {
            Some("Exists") => &[true],
            Some(_) => &[false],
            None => &[true, false],
        };
        for rule in items(webhook, "rules") {
            for operation in texts(rule, "operations") {
                for group in texts(rule, "apiGroups") {
                    for resource in texts(rule, "resources") {
                        let keys =
                            in_namespaces.iter().map(|managed| key(operation, group, resource, *managed));
                        selected.extend(keys);
                    }
                }
            }
        }
    }
    selected
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn texts<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    items(value, field).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_selected_by_operation_resource_and_namespace() {
        let resources = Resources::of(&RunPolicy::default());
        assert!(resources.mutates(Operation::Create, "", "namespaces", false));
        assert!(!resources.mutates(Operation::Delete, "", "namespaces", false));
        assert!(resources.validates(Operation::Delete, "", "namespaces", true));
        assert!(resources.validates(Operation::Create, "batch", "jobs", true));
        assert!(!resources.validates(Operation::Delete, "batch", "jobs", true));
        assert!(!resources.validates(Operation::Create, "", "configmaps", true));
        assert!(resources.validates(Operation::Update, "", "pods/status", true));
        assert!(resources.validates(Operation::Create, "rbac.authorization.k8s.io", "rolebindings", false));
    }
}
