//! Repair of the webhook configurations to the state that `register` applies, except for the caBundle.

use std::time::Instant;

use codex_k8s_shared::install::FIELD_MANAGER;
use codex_k8s_shared::policy::RunPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::observe::Seen;
use super::terms;
use super::{Certificates, Failure};
use crate::reconcile::backoff::Delays;
use crate::registered::{Which, webhooks};
use crate::registration::{Endpoint, configurations};

/// The repairs of each field, which get rarer while another writer keeps changing it.
pub(super) type Repairs = Delays<(Which, String)>;

impl Certificates {
    /// Repairs both configurations. Returns true if any was repaired.
    pub(super) async fn repair_registration(
        &self,
        seen: &Seen,
        repairs: &mut Repairs,
    ) -> Result<bool, Failure> {
        let mut repaired = false;
        for (which, found) in &seen.configurations {
            let Some(found) = found else { continue };
            let policy = self.policy.load();
            let desired = merge(desired(*which, &policy, &self.options.endpoint), webhooks(found), &policy);
            let differences = differences(&desired, webhooks(found));
            let now = Instant::now();
            let is_due = |path: &String| repairs.left(&(*which, path.clone()), now).is_zero();
            if differences.iter().any(is_due) {
                self.write_configuration(*which, &repaired_of(found, desired)).await?;
                self.metrics.registration_repaired(which.kind());
                let next =
                    differences.iter().filter_map(|path| repairs.done((*which, path.clone()), now)).max();
                report(*which, found, &differences, next);
                repaired = true;
            }
            let is_contested = repairs.repeated(now).any(|(of, _)| of == which);
            self.metrics.registration_contested(which.kind(), is_contested);
        }
        Ok(repaired)
    }
}

/// Logs a repair with the other writer, and, if it was not the first one, when the next one may follow.
fn report(which: Which, found: &DynamicObject, differences: &[String], next: Option<std::time::Duration>) {
    let (configuration, fields) = (which.kind(), differences.join(", "));
    let manager = writer(found.metadata.managed_fields.as_deref().unwrap_or_default(), differences);
    let manager = manager.unwrap_or("unknown");
    match next {
        None => tracing::warn!(configuration, fields, manager, "repaired the webhook configuration"),
        Some(next) => tracing::warn!(
            configuration,
            fields,
            manager,
            next_repair_in = ?next,
            "repaired the webhook configuration again: another writer keeps changing it"
        ),
    }
}

fn desired(which: Which, policy: &RunPolicy, endpoint: &Endpoint) -> Vec<Value> {
    let (mutating, validating) = configurations(policy, endpoint, None);
    let mut whole = match which {
        Which::Mutating => mutating,
        Which::Validating => validating,
    };
    match whole.get_mut("webhooks").map(Value::take) {
        Some(Value::Array(webhooks)) => webhooks,
        _ => Vec::new(),
    }
}

/// Returns the desired webhooks with what is kept as found: each webhook's caBundle, its timeout, which `register` sets,
/// and harmless terms of other writers. A webhook that is missing gets the caBundle and the timeout of another one.
fn merge(desired: Vec<Value>, found: &[Value], policy: &RunPolicy) -> Vec<Value> {
    let of_any = |path: &str| found.iter().find_map(|webhook| webhook.pointer(path));
    let keep = |mut webhook: Value| {
        let of_this = found.iter().find(|found| name(found) == name(&webhook));
        let value =
            |path: &str| of_this.and_then(|found| found.pointer(path)).or_else(|| of_any(path)).cloned();
        if let Some(timeout) = value("/timeoutSeconds") {
            set(&mut webhook, "timeoutSeconds", timeout);
        }
        if let (Some(config), Some(bundle)) =
            (webhook.get_mut("clientConfig"), value("/clientConfig/caBundle"))
        {
            set(config, "caBundle", bundle);
        }
        if let Some(selector) = of_this.and_then(|found| terms::merge(&webhook, found, policy)) {
            set(&mut webhook, "namespaceSelector", json!({"matchExpressions": selector}));
        }
        webhook
    };
    desired.into_iter().map(keep).collect()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Returns each webhook that exists on one side only, by name, and each field of another one that differs, as NAME/FIELD.
fn differences(desired: &[Value], found: &[Value]) -> Vec<String> {
    let by_name = |webhooks: &[Value]| -> Map<String, Value> {
        webhooks.iter().map(|webhook| (name(webhook).to_owned(), essence(webhook))).collect()
    };
    let (desired, found) = (by_name(desired), by_name(found));
    let mut differences = Vec::new();
    for name in union(&desired, &found) {
        match (desired.get(name).and_then(Value::as_object), found.get(name).and_then(Value::as_object)) {
            (Some(desired), Some(found)) => {
                let differs = union(desired, found).filter(|field| desired.get(*field) != found.get(*field));
                differences.extend(differs.map(|field| format!("{name}/{field}")));
            }
            _ => differences.push(name.clone()),
        }
    }
    differences
}

fn union<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)))
}

fn name(webhook: &Value) -> &str {
    webhook.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Returns a webhook without its caBundle and without empty fields, some of which the API server adds and others it
/// drops.
fn essence(webhook: &Value) -> Value {
    let mut essence = webhook.clone();
    if let Some(config) = essence.get_mut("clientConfig").and_then(Value::as_object_mut) {
        config.remove("caBundle");
    }
    if let Some(fields) = essence.as_object_mut() {
        fields.retain(|_, value| !is_empty(value));
    }
    essence
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn repaired_of(found: &DynamicObject, desired: Vec<Value>) -> DynamicObject {
    let mut object = found.clone();
    set(&mut object.data, "webhooks", desired.into());
    object
}

/// Returns the other field manager that wrote a difference last. A field that is missing has no manager any more: then
/// it is the manager that wrote anything last.
fn writer<'a>(managers: &'a [ManagedFieldsEntry], differences: &[String]) -> Option<&'a str> {
    let owns = |entry: &ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:webhooks"));
        differences.iter().any(|difference| {
            let (webhook, field) = difference.split_once('/').unwrap_or((difference, "."));
            let webhook = fields.and_then(|fields| fields.get(format!("k:{}", json!({"name": webhook}))));
            webhook.is_some_and(|webhook| webhook.get(field).or(webhook.get(format!("f:{field}"))).is_some())
        })
    };
    let others = managers.iter().filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    let last = others.max_by_key(|entry| (owns(entry), entry.time.as_ref().map(|time| time.0)));
    last?.manager.as_deref()
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    type Drift = fn(&mut Vec<Value>);

    fn endpoint() -> Endpoint {
        Endpoint::Service { namespace: "guard".to_owned(), name: "hook".to_owned() }
    }

    /// The configuration as the API server stores it, with the fields that it adds and without those that it drops.
    fn stored() -> DynamicObject {
        let (_, mut whole) = configurations(&RunPolicy::default(), &endpoint(), Some(b"ca"));
        for webhook in whole["webhooks"].as_array_mut().unwrap() {
            let fields = webhook.as_object_mut().unwrap();
            fields.retain(|_, value| !is_empty(value));
            for added in ["namespaceSelector", "objectSelector"] {
                fields.entry(added).or_insert_with(|| json!({}));
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    /// The webhooks that a repair of these would write.
    fn repaired(found: &[Value], policy: &RunPolicy) -> Vec<Value> {
        merge(desired(Which::Validating, policy, &endpoint()), found, policy)
    }

    fn differences_of(found: &DynamicObject) -> Vec<String> {
        differences(&repaired(webhooks(found), &RunPolicy::default()), webhooks(found))
    }

    #[test]
    fn every_kind_of_drift_is_seen_and_repaired_and_whom_they_trust_stays() {
        assert_eq!(differences_of(&stored()), [""; 0]);
        let drifts: [(Drift, &str); 6] = [
            (|all| all[0]["failurePolicy"] = "Ignore".into(), "namespaces.guard.codex-k8s.dev/failurePolicy"),
            (
                |all| all[0]["rules"][0]["operations"] = json!(["CREATE"]),
                "namespaces.guard.codex-k8s.dev/rules",
            ),
            (
                |all| all[0]["objectSelector"] = json!({"matchLabels": {"a": "b"}}),
                "namespaces.guard.codex-k8s.dev/objectSelector",
            ),
            (|all| all[0]["matchConditions"] = json!([]), "namespaces.guard.codex-k8s.dev/matchConditions"),
            (
                |all| all[0]["clientConfig"]["service"]["name"] = "evil".into(),
                "namespaces.guard.codex-k8s.dev/clientConfig",
            ),
            (|all| drop(all.remove(0)), "namespaces.guard.codex-k8s.dev"),
        ];
        for (drift, field) in drifts {
            let mut object = stored();
            drift(object.data["webhooks"].as_array_mut().unwrap());
            assert_eq!(differences_of(&object), [field]);
            let repaired = repaired_of(&object, repaired(webhooks(&object), &RunPolicy::default()));
            assert_eq!(differences_of(&repaired), [""; 0], "{field}");
            assert!(webhooks(&repaired).iter().all(|webhook| webhook["clientConfig"]["caBundle"] == "Y2E="));
        }
    }

    #[test]
    fn another_caller_timeout_label_or_annotation_stays_for_new_webhooks_too() {
        let mut object = stored();
        object.data["webhooks"][0]["clientConfig"]["caBundle"] = "b3RoZXI=".into();
        object.labels_mut().insert("team".to_owned(), "platform".to_owned());
        for webhook in object.data["webhooks"].as_array_mut().unwrap() {
            webhook["timeoutSeconds"] = 7.into();
        }
        assert_eq!(differences_of(&object), [""; 0]);
        object.data["webhooks"].as_array_mut().unwrap().pop();
        let repaired = repaired_of(&object, repaired(webhooks(&object), &RunPolicy::default()));
        assert!(webhooks(&repaired).iter().all(|webhook| webhook["timeoutSeconds"] == 7));
        assert_eq!(repaired.labels()["team"], "platform");
    }

    fn index_of(found: &DynamicObject, subject: &str) -> usize {
        let is_meant = |webhook: &Value| name(webhook) == format!("{subject}.guard.codex-k8s.dev");
        webhooks(found).iter().position(is_meant).unwrap()
    }

    /// The stored configuration, with a term added to one of its selectors.
    fn with_term(subject: &str, selector: &str, term: &Value) -> DynamicObject {
        let mut object = stored();
        let index = index_of(&object, subject);
        let selector = &mut object.data["webhooks"][index][selector];
        let mut terms = selector["matchExpressions"].as_array().cloned().unwrap_or_default();
        terms.insert(0, term.clone());
        *selector = json!({"matchExpressions": terms});
        object
    }

    #[test]
    fn a_term_that_excludes_no_run_namespace_stays_and_any_other_is_drift() {
        let not_in = |key: &str, values: &[&str]| json!({"key": key, "operator": "NotIn", "values": values});
        let name = "kubernetes.io/metadata.name";
        let aks = [not_in("control-plane", &["true"]), not_in("kubernetes.azure.com/managedby", &["aks"])];
        let gke = not_in(name, &["kube-system", "gke-gmp-system", "codex-k8s-system"]);
        for (subject, selector, term, stays) in [
            ("workloads", "namespaceSelector", &aks[0], true),
            ("roles", "namespaceSelector", &aks[1], true),
            ("workloads", "namespaceSelector", &gke, true),
            ("namespaces", "namespaceSelector", &gke, true),
            // The webhook for namespaces denies these labels. The others do not depend on labels of run namespaces.
            ("namespaces", "namespaceSelector", &aks[0], false),
            ("bindings-into-runs", "namespaceSelector", &aks[0], false),
            ("bare-slots", "namespaceSelector", &aks[1], false),
            ("workloads", "objectSelector", &aks[0], false),
            ("workloads", "namespaceSelector", &not_in("control-plane", &["true", "false"]), false),
            ("workloads", "namespaceSelector", &not_in("tenant", &["true"]), false),
            ("workloads", "namespaceSelector", &not_in(name, &["kube-system", "codex-issue-a-1"]), false),
            ("workloads", "namespaceSelector", &not_in(name, &["payments"]), false),
            ("workloads", "namespaceSelector", &json!({"key": name, "operator": "DoesNotExist"}), false),
            ("workloads", "namespaceSelector", &json!({"key": name, "operator": "In", "values": []}), false),
        ] {
            let object = with_term(subject, selector, term);
            let drift = format!("{subject}.guard.codex-k8s.dev/{selector}");
            let expected = if stays { vec![] } else { vec![drift] };
            assert_eq!(differences_of(&object), expected, "{term}");
        }
    }

    #[test]
    fn a_repair_keeps_harmless_terms_and_our_own_and_removes_the_others() {
        let term = json!({"key": "control-plane", "operator": "NotIn", "values": ["true"]});
        let mut object = with_term("workloads", "namespaceSelector", &term);
        let index = index_of(&object, "workloads");
        let path = format!("/webhooks/{index}/namespaceSelector/matchExpressions");
        let ours = object.data.pointer(&path).unwrap()[1].clone();
        *object.data.pointer_mut(&path).unwrap() = json!([{"key": "tenant", "operator": "Exists"}, term]);
        let repaired = repaired_of(&object, repaired(webhooks(&object), &RunPolicy::default()));
        assert_eq!(repaired.data.pointer(&path), Some(&json!([term, ours])));
    }

    #[test]
    fn a_label_that_the_policy_allows_on_run_namespaces_excludes_them() {
        let term = json!({"key": "control-plane", "operator": "NotIn", "values": ["true"]});
        let object = with_term("workloads", "namespaceSelector", &term);
        for text in ["namespaces: {allowedPrivileges: [control-plane]}", "rules: {NS018: warn}"] {
            let policy = RunPolicy::from_yaml(&format!(
                "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n{text}\n"
            ));
            let policy = policy.unwrap();
            let differences = differences(&repaired(webhooks(&object), &policy), webhooks(&object));
            assert_eq!(differences, ["workloads.guard.codex-k8s.dev/namespaceSelector"], "{text}");
        }
    }

    #[test]
    fn the_other_writer_of_a_field_is_named() {
        let entry = |manager: &str, second: u32, fields: Value| -> ManagedFieldsEntry {
            serde_json::from_value(json!({
                "manager": manager,
                "time": format!("2026-01-01T00:00:{second:02}Z"),
                "fieldsV1": {"f:webhooks": {"k:{\"name\":\"a.b\"}": fields}},
            }))
            .unwrap()
        };
        let managers = [
            entry("enforcer", 1, json!({"f:namespaceSelector": {}})),
            entry("kubectl", 2, json!({"f:rules": {}})),
            entry(FIELD_MANAGER, 3, json!({".": {}, "f:namespaceSelector": {}})),
        ];
        let writer = |difference: &str| writer(&managers, &[difference.to_owned()]);
        assert_eq!(writer("a.b/namespaceSelector"), Some("enforcer"));
        assert_eq!(writer("a.b/rules"), Some("kubectl"));
        assert_eq!(writer("c.d"), Some("kubectl"), "a webhook that is gone: the last other writer");
        assert_eq!(super::writer(&managers[2..], &["c.d".to_owned()]), None);
    }
}
