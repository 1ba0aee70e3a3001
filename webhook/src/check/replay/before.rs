//! The object as the webhook received it: the stored object without the patches of the webhook.

use jiff::{SignedDuration, Timestamp};
use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde_json::{Map, Value};

/// The field of a Pod's spec, and the deprecated one that the API server always sets to the same value.
const SERVICE_ACCOUNT: &str = "serviceAccountName";
const ITS_ALIAS: &str = "serviceAccount";

/// Takes patches off the object that they led to. `request` is the object as it was sent, which has the values that a
/// patch replaced. A removed value that is not in the request was set by a plug-in of the API server: it stays removed.
///
/// Returns `None` if the object does not have what the patches set, because another webhook changed it later.
pub(super) fn without_patches(
    mut stored: Value,
    request: Option<&Value>,
    patches: &[Patch],
) -> Option<Value> {
    let operations: Vec<_> = patches.iter().flat_map(|patch| &patch.0).collect();
    for operation in operations.into_iter().rev() {
        match operation {
            PatchOperation::Add(add) => take_back(&mut stored, request, &add.path, Some(&add.value))?,
            PatchOperation::Replace(replace) => {
                take_back(&mut stored, request, &replace.path, Some(&replace.value))?;
            }
            PatchOperation::Remove(remove) => take_back(&mut stored, request, &remove.path, None)?,
            PatchOperation::Move(_) | PatchOperation::Copy(_) | PatchOperation::Test(_) => return None,
        }
    }
    Some(stored)
}

/// Sets a field to its value in the request, or removes the value that a patch set. A map or list that a patch created
/// stays if it has entries of others, such as the labels that the API server sets on a Job.
fn take_back(stored: &mut Value, request: Option<&Value>, path: &Pointer, set: Option<&Value>) -> Option<()> {
    let (parent, last) = path.split_back()?;
    let before = request.and_then(|request| path.resolve(request).ok());
    let key = last.decoded();
    match parent.resolve_mut(stored) {
        Ok(Value::Object(fields)) => {
            let is_created_for_others =
                set.is_some_and(is_empty) && fields.get(&*key).is_some_and(|value| !is_empty(value));
            match before {
                Some(before) => drop(fields.insert(key.into_owned(), before.clone())),
                None if is_created_for_others => {}
                None => {
                    fields.remove(&*key);
                    if key == SERVICE_ACCOUNT {
                        fields.remove(ITS_ALIAS);
                    }
                }
            }
            Some(())
        }
        Ok(Value::Array(items)) => {
            let Some(set) = set else { return Some(()) };
            let index = key.parse().unwrap_or_else(|_| items.len().saturating_sub(1));
            (items.get(index)? == set).then(|| drop(items.remove(index)))
        }
        // A field below something that was removed.
        Err(_) if set.is_none() => Some(()),
        _ => None,
    }
}

/// Returns the fields of an object, without the alias of a field that is set.
fn fields(object: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.iter().filter(|(key, _)| *key != ITS_ALIAS || !object.contains_key(SERVICE_ACCOUNT))
}

/// Returns true for a map or a list without entries.
pub(super) fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Returns true if two objects are equal, except for times that differ by at most `slack`: the webhook read its clock
/// some time after the request arrived.
pub(super) fn is_equal(one: &Value, other: &Value, slack: SignedDuration) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            fields(one).count() == fields(other).count()
                && fields(one)
                    .all(|(key, value)| other.get(key).is_some_and(|other| is_equal(value, other, slack)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other, slack))
        }
        (Value::String(one), Value::String(other)) => {
            let times = || one.parse::<Timestamp>().ok().zip(other.parse::<Timestamp>().ok());
            one == other || times().is_some_and(|(one, other)| one.duration_since(other).abs() <= slack)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken_back(request: &Value, patch: Value) -> Option<Value> {
        let patch: Patch = serde_json::from_value(patch).unwrap();
        let mut stored = request.clone();
        json_patch::patch(&mut stored, &patch).unwrap();
        without_patches(stored, Some(request), &[patch])
    }

    #[test]
    fn an_object_without_its_patches_is_the_object_that_was_sent() {
        let request =
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"env": [{"name": "x"}], "suspend": false}});
        let patch = json!([
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/example.dev~1b", "value": "2"},
            {"op": "add", "path": "/metadata/labels/a", "value": "replaced"},
            {"op": "add", "path": "/spec/env/0", "value": {"name": "first"}},
            {"op": "add", "path": "/spec/env/2", "value": {"name": "last"}},
            {"op": "replace", "path": "/spec/suspend", "value": true},
        ]);
        assert_eq!(taken_back(&request, patch).as_ref(), Some(&request));
        let removal = json!([{"op": "remove", "path": "/metadata/labels"}]);
        assert_eq!(taken_back(&request, removal).as_ref(), Some(&request));
    }

    #[test]
    fn what_the_api_server_added_to_a_patched_object_stays() {
        let patch = json!([
            {"op": "add", "path": "/labels", "value": {}},
            {"op": "add", "path": "/labels/ours", "value": "1"},
            {"op": "add", "path": "/serviceAccountName", "value": "codex-runner"},
        ]);
        let patch: Patch = serde_json::from_value(patch).unwrap();
        let stored = json!({"labels": {"ours": "1", "job-name": "j"},
            "serviceAccountName": "codex-runner", "serviceAccount": "codex-runner"});
        let received = without_patches(stored, Some(&json!({})), &[patch]);
        assert_eq!(received, Some(json!({"labels": {"job-name": "j"}})));
    }

    #[test]
    fn an_array_that_another_webhook_changed_later_is_not_taken_apart() {
        let patch = json!([{"op": "add", "path": "/env/0", "value": {"name": "ours"}}]);
        let patch: Patch = serde_json::from_value(patch).unwrap();
        let stored = json!({"env": [{"name": "theirs"}, {"name": "ours"}]});
        assert_eq!(without_patches(stored, None, &[patch]), None);
    }

    #[test]
    fn times_are_equal_within_the_slack_and_all_else_must_be_the_same() {
        let at = |time: &str, name: &str| json!({"ends": [time], "name": name});
        let (one, slack) = (at("2026-02-01T12:00:00Z", "a"), SignedDuration::from_secs(2));
        assert!(is_equal(&one, &at("2026-02-01T12:00:02Z", "a"), slack));
        assert!(!is_equal(&one, &at("2026-02-01T12:00:03Z", "a"), slack));
        assert!(!is_equal(&one, &at("2026-02-01T12:00:00Z", "b"), slack));
        assert!(!is_equal(&one, &json!({"ends": [], "name": "a"}), slack));
    }
}
