//! The API server's defaults that rules read, so that a file gets the same verdict as behind an API server. A scenario
//! compares them with a real one.

use serde_json::{Value, json};

const ACCOUNT: &str = "serviceAccountName";
/// The deprecated form of the field. The API server keeps both equal.
const DEPRECATED_ACCOUNT: &str = "serviceAccount";

/// Returns the pointer to the Pod template of a kind; a Pod is its own template.
fn template(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        "Job" | "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            Some("/spec/template")
        }
        _ => None,
    }
}

/// Sets the defaults of an object.
pub(super) fn fill_in(kind: &str, object: &mut Value) {
    if kind == "Job" {
        fill_in_job(object);
    }
    let spec = template(kind).and_then(|template| object.pointer_mut(&format!("{template}/spec")));
    let Some(spec) = spec.and_then(Value::as_object_mut) else { return };
    // Two names of one field. A Pod without it gets one from the admission plugin `ServiceAccount`, which runs before
    // the webhook.
    let named = |name| spec.get(name).and_then(Value::as_str).filter(|account| !account.is_empty());
    let usual = (kind == "Pod").then_some("default");
    let account = named(ACCOUNT).or_else(|| named(DEPRECATED_ACCOUNT)).or(usual).map(str::to_owned);
    if let Some(account) = account {
        for name in [ACCOUNT, DEPRECATED_ACCOUNT] {
            spec.insert(name.to_owned(), account.clone().into());
        }
    }
}

fn fill_in_job(job: &mut Value) {
    let labels = job.pointer("/spec/template/metadata/labels").cloned();
    let is_bare =
        job.pointer("/metadata/labels").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if let (true, Some(labels), Some(metadata)) =
        (is_bare, labels, job.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("labels".to_owned(), labels);
    }
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        let is_per_index = spec.get("backoffLimitPerIndex").is_some_and(|limit| !limit.is_null());
        spec.entry("backoffLimit").or_insert_with(|| if is_per_index { i32::MAX.into() } else { json!(6) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_already_stays() {
        let given = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"backoffLimit": 0, "template": {
            "metadata": {"labels": {"c": "d"}}, "spec": {"serviceAccountName": "x", "serviceAccount": "x"}}}});
        let mut job = given.clone();
        fill_in("Job", &mut job);
        assert_eq!(job, given);
    }

    #[test]
    fn the_account_has_two_names_and_the_newer_one_counts() {
        for (given, account) in [
            (json!({"serviceAccountName": "x", "serviceAccount": "y"}), Some("x")),
            (json!({"serviceAccountName": "", "serviceAccount": "y"}), Some("y")),
            (json!({"serviceAccountName": "x"}), Some("x")),
            (json!({}), None),
        ] {
            for (kind, usual) in [("Pod", Some("default")), ("Job", None)] {
                let mut object = match kind {
                    "Pod" => json!({"spec": given}),
                    _ => json!({"spec": {"template": {"spec": given}}}),
                };
                fill_in(kind, &mut object);
                let spec = object.pointer(&format!("{}/spec", template(kind).unwrap())).unwrap();
                for name in [ACCOUNT, DEPRECATED_ACCOUNT] {
                    assert_eq!(spec.get(name).and_then(Value::as_str), account.or(usual), "{kind} {given}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_object_of_its_kind_is_left_to_the_rules() {
        for mut odd in [json!(null), json!({"spec": []}), json!({"metadata": 7, "spec": 8})] {
            let given = odd.clone();
            fill_in("Pod", &mut odd);
            assert_eq!(odd, given);
        }
    }
}
