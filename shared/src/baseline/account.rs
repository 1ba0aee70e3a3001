//! The ServiceAccount of a baseline. Only what the policy sets is compared: a distribution may add pull secrets of its
//! own, and its controllers would add them again.

use serde_json::{Value, json};

use super::{BaselineKind, Desired, Difference, compare, object};
use crate::install::FIELD_MANAGER;
use crate::policy::AccessProfile;

const PULL_SECRETS: &str = "imagePullSecrets";

/// The ServiceAccount of an access profile.
pub(super) fn account(profile: &AccessProfile, namespace: &str) -> Desired {
    let secrets: Vec<_> = profile.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let body = if secrets.is_empty() { json!({}) } else { json!({PULL_SECRETS: secrets}) };
    let mut desired = object(BaselineKind::ServiceAccount, &profile.service_account, namespace, body);
    if !profile.annotations.is_empty() {
        desired.object["metadata"]["annotations"] = json!(profile.annotations);
    }
    desired
}

/// Appends the differences of a stored ServiceAccount: what is missing, and what we have applied and the policy does
/// not have any more.
pub(super) fn compare_with(desired: &Desired, stored: &Value, differences: &mut Vec<Difference>) {
    let stored_annotation = |key: &str| stored.pointer("/metadata/annotations").and_then(|all| all.get(key));
    let path = |key: &str| format!("metadata.annotations[\"{key}\"]");
    for (key, value) in desired.annotations() {
        compare(&path(key), Some(&value.into()), stored_annotation(key), differences);
    }
    for key in
        applied_annotations(stored).filter(|key| desired.annotations().all(|(desired, _)| desired != *key))
    {
        compare(&path(key), None, stored_annotation(key), differences);
    }
    let secrets = |object: &Value| object.get(PULL_SECRETS).cloned().unwrap_or_default();
    let (desired, found) = (secrets(&desired.object), secrets(stored));
    let is_owned = applied(stored).any(|fields| fields.get(format!("f:{PULL_SECRETS}")).is_some());
    let is_in = |entry| items(&found).any(|other| other == entry);
    let is_same =
        items(&desired).all(is_in) && (!is_owned || items(&desired).count() == items(&found).count());
    if !is_same {
        let text = |list: &Value| if list.is_null() { "nothing".to_owned() } else { list.to_string() };
        differences.push(Difference {
            path: PULL_SECRETS.to_owned(),
            found: text(&found),
            desired: text(&desired),
        });
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The fields that we have applied and still own.
fn applied(stored: &Value) -> impl Iterator<Item = &Value> {
    let managers = stored.pointer("/metadata/managedFields").and_then(Value::as_array);
    let ours = |entry: &&Value| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply";
    managers.into_iter().flatten().filter(ours).map(|entry| &entry["fieldsV1"])
}

fn applied_annotations(stored: &Value) -> impl Iterator<Item = &str> {
    applied(stored)
        .filter_map(|fields| fields.pointer("/f:metadata/f:annotations").and_then(Value::as_object))
        .flat_map(|annotations| annotations.keys().filter_map(|key| key.strip_prefix("f:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(annotations: &Value, secrets: &[&str]) -> Desired {
        let mut profile = crate::policy::RunPolicy::default().baseline.candidate;
        profile.annotations = serde_json::from_value(annotations.clone()).unwrap();
        profile.image_pull_secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
        account(&profile, "codex-issue-7")
    }

    fn paths(desired: &Desired, stored: &Value) -> Vec<String> {
        desired.differences(stored).into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn missing_annotations_and_pull_secrets_are_drift_and_those_of_others_are_not() {
        let desired = desired(&json!({"example.com/role": "agent"}), &["registry"]);
        let mut stored = desired.object.clone();
        stored["metadata"]["annotations"]["example.com/note"] = "theirs".into();
        stored[PULL_SECRETS] = json!([{"name": "builder-dockercfg"}, {"name": "registry"}]);
        assert_eq!(paths(&desired, &stored), [""; 0]);
        stored["metadata"]["annotations"]["example.com/role"] = "admin".into();
        stored[PULL_SECRETS] = json!([{"name": "builder-dockercfg"}]);
        let both = [r#"metadata.annotations["example.com/role"]"#, "imagePullSecrets"];
        assert_eq!(paths(&desired, &stored), both);
        stored["metadata"]["annotations"] = json!(null);
        stored[PULL_SECRETS] = json!(null);
        assert_eq!(paths(&desired, &stored), both);
    }

    #[test]
    fn what_the_policy_does_not_set_any_more_is_drift_if_we_have_applied_it() {
        let mut stored = desired(&json!({"example.com/role": "agent"}), &["registry"]).object;
        let plain = desired(&json!({}), &[]);
        assert_eq!(paths(&plain, &stored), [""; 0]);
        let fields =
            json!({"f:metadata": {"f:annotations": {"f:example.com/role": {}}}, "f:imagePullSecrets": {}});
        stored["metadata"]["managedFields"] =
            json!([{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]);
        let both = [r#"metadata.annotations["example.com/role"]"#, "imagePullSecrets"];
        assert_eq!(paths(&plain, &stored), both);
    }
}
