//! Repair of the webhook configurations to the state that `register` applies, except for the caBundle.

use codex_k8s_shared::baseline;
use codex_k8s_shared::policy::RunPolicy;
use kube::api::DynamicObject;
use serde_json::{Map, Value};

use super::observe::Seen;
use super::{Certificates, Failure};
use crate::registered::{Which, webhooks};
use crate::registration::{Endpoint, configurations};

impl Certificates {
    /// Repairs both configurations. Returns true if any was repaired.
    pub(super) async fn repair_registration(&self, seen: &Seen) -> Result<bool, Failure> {
        let mut repaired = false;
        for (which, found) in &seen.configurations {
            let Some(found) = found else { continue };
            let desired = desired(*which, &self.policy.load(), &self.options.endpoint);
            let differences = differences(&desired, found);
            if differences.is_empty() {
                continue;
            }
            let configuration = which.kind();
            let fields = differences.join(", ");
            self.write_configuration(*which, &repaired_of(found, desired)).await?;
            self.metrics.registration_repaired(configuration);
            tracing::warn!(configuration, fields, "repaired the webhook configuration");
            repaired = true;
        }
        Ok(repaired)
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

/// Returns the paths of the fields in which a configuration differs from the desired one.
fn differences(desired: &[Value], found: &DynamicObject) -> Vec<String> {
    let by_name = |webhooks: &[Value]| -> Value {
        let named = webhooks.iter().map(|webhook| (name(webhook).to_owned(), essence(webhook)));
        Value::Object(named.collect::<Map<_, _>>())
    };
    let differences = baseline::changes(&by_name(desired), &by_name(webhooks(found)));
    differences.into_iter().map(|difference| difference.path).collect()
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

/// Returns a configuration with the desired webhooks. Each keeps its caBundle, or gets that of another webhook.
fn repaired_of(found: &DynamicObject, desired: Vec<Value>) -> DynamicObject {
    let bundle = |webhook: &Value| webhook.pointer("/clientConfig/caBundle").cloned();
    let of_any = webhooks(found).iter().find_map(bundle);
    let repaired = desired.into_iter().map(|mut webhook| {
        let of_this = webhooks(found).iter().find(|found| name(found) == name(&webhook)).and_then(bundle);
        let config = webhook.get_mut("clientConfig").and_then(Value::as_object_mut);
        if let (Some(config), Some(bundle)) = (config, of_this.or_else(|| of_any.clone())) {
            config.insert("caBundle".to_owned(), bundle);
        }
        webhook
    });
    let mut object = found.clone();
    if let Some(fields) = object.data.as_object_mut() {
        fields.insert("webhooks".to_owned(), repaired.collect());
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn every_kind_of_drift_is_seen_and_repaired_and_whom_they_trust_stays() {
        let desired = || desired(Which::Validating, &RunPolicy::default(), &endpoint());
        assert_eq!(differences(&desired(), &stored()), [""; 0]);
        let drifts: [(Drift, &str); 7] = [
            (|all| all[0]["failurePolicy"] = "Ignore".into(), "failurePolicy"),
            (|all| all[0]["timeoutSeconds"] = 30.into(), "timeoutSeconds"),
            (|all| all[0]["rules"][0]["operations"] = json!(["CREATE"]), "rules"),
            (|all| all[0]["objectSelector"] = json!({"matchLabels": {"a": "b"}}), "objectSelector"),
            (|all| all[0]["matchConditions"] = json!([]), "matchConditions"),
            (|all| all[0]["clientConfig"]["service"]["name"] = "evil".into(), "clientConfig"),
            (|all| drop(all.remove(0)), "namespaces.guard"),
        ];
        for (drift, field) in drifts {
            let mut object = stored();
            drift(object.data["webhooks"].as_array_mut().unwrap());
            let found = differences(&desired(), &object);
            assert!(found.iter().any(|path| path.contains(field)), "{field}: {found:?}");
            let repaired = repaired_of(&object, desired());
            assert_eq!(differences(&desired(), &repaired), [""; 0], "{field}");
            assert!(webhooks(&repaired).iter().all(|webhook| webhook["clientConfig"]["caBundle"] == "Y2E="));
        }
    }

    #[test]
    fn a_caller_that_is_trusted_otherwise_is_no_drift() {
        let mut object = stored();
        object.data["webhooks"][0]["clientConfig"]["caBundle"] = "b3RoZXI=".into();
        assert_eq!(
            differences(&desired(Which::Validating, &RunPolicy::default(), &endpoint()), &object),
            [""; 0]
        );
    }
}
