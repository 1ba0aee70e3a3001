//! Terms that other writers add to the `namespaceSelector` of a webhook: managed clusters exclude namespaces of their own
//! from all webhooks.
//!
//! A term is kept if no run namespace can be excluded by it. Every other term is drift, and so is any term of an
//! `objectSelector`, because the author of an object sets its labels.

use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use crate::registration::managed_selector;
use crate::rules::catalogue;

/// The label that the API server itself sets to the name of a namespace. GKE Autopilot adds terms with it.
const NAME: &str = "kubernetes.io/metadata.name";
/// The labels and values that the admissions enforcer of AKS excludes. NS018 denies these labels on run namespaces.
const LABELS: [(&str, &str); 2] = [("control-plane", "true"), ("kubernetes.azure.com/managedby", "aks")];
/// The rule that denies [`LABELS`].
const RULE: &str = "NS018";

/// Returns the match expressions of a webhook if harmless terms were added to them: the found ones without those that
/// are drift, and then the desired ones that are missing.
pub(super) fn merge(desired: &Value, found: &Value, policy: &RunPolicy) -> Option<Vec<Value>> {
    let ours = expressions(desired);
    // A webhook for namespaces, or for namespaces that are not managed, is what NS018 depends on, or is not covered by it.
    let selects_managed = desired.get("namespaceSelector") == Some(&managed_selector());
    let stays = |term: &&Value| ours.contains(term) || is_harmless(term, selects_managed, policy);
    let mut all: Vec<_> = expressions(found).iter().filter(stays).cloned().collect();
    for term in ours {
        if !all.contains(term) {
            all.push(term.clone());
        }
    }
    (all != ours).then_some(all)
}

fn expressions(webhook: &Value) -> &[Value] {
    let terms = webhook.pointer("/namespaceSelector/matchExpressions").and_then(Value::as_array);
    terms.map_or(&[], Vec::as_slice)
}

fn is_harmless(term: &Value, selects_managed: bool, policy: &RunPolicy) -> bool {
    let text = |field: &str| term.get(field).and_then(Value::as_str).unwrap_or_default();
    let values: Vec<_> = term
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let key = text("key");
    if text("operator") != "NotIn" {
        return false;
    }
    if key == NAME {
        return values.iter().all(|name| is_of_the_cluster(name, policy));
    }
    let is_known = LABELS.iter().any(|(label, value)| *label == key && values == [*value]);
    is_known && selects_managed && is_denied_on_run_namespaces(key, policy)
}

/// Returns true for the name of a namespace that belongs to the cluster or its provider.
fn is_of_the_cluster(name: &str, policy: &RunPolicy) -> bool {
    let namespaces = &policy.namespaces;
    let is_system =
        namespaces.is_protected(name) || ["kube-", "gke-"].iter().any(|prefix| name.starts_with(prefix));
    is_system && !namespaces.is_of_a_run(name)
}

fn is_denied_on_run_namespaces(label: &str, policy: &RunPolicy) -> bool {
    let is_allowed = policy.namespaces.allowed_privileges.iter().any(|allowed| allowed == label);
    !is_allowed && catalogue::find(RULE).is_some_and(|rule| rule.mode(policy) == Mode::Enforce)
}
