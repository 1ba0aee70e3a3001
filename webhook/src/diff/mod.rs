//! The differences between two policies: each setting with its old and its new value, and the rules that read it.

use codex_k8s_shared::baseline::joined;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::quota::quantity::Quantity;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::registration::{Endpoint, configurations};
use crate::rules::catalogue;

/// The differences between two policies.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDiff {
    /// Always `policy.codex-k8s.dev/v1alpha1`.
    pub api_version: &'static str,
    /// Always `PolicyDiff`.
    pub kind: &'static str,
    /// The hash of the old policy.
    pub old: String,
    /// The hash of the new policy.
    pub new: String,
    /// True if the webhook configurations differ too, so that you must register them again.
    pub registration: bool,
    /// The settings that differ. An explicit mode that equals the rule's default does not count.
    pub changes: Vec<Change>,
}

/// A setting that differs.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The field, as a path in the document.
    pub path: String,
    /// The old value; `null` if the field was absent.
    pub old: Value,
    /// The new value; `null` if the field is absent.
    pub new: Value,
    /// The rules that read the setting; none if only the reconciler or the garbage collector reads it.
    pub rules: Vec<Reader>,
}

/// A rule that reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reader {
    /// The rule's id.
    pub id: &'static str,
    /// The rule in one sentence.
    pub title: &'static str,
}

impl PolicyDiff {
    /// Returns the JSON Schema of differences.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }
}

/// Compares two policies.
pub fn diff(old: &RunPolicy, new: &RunPolicy) -> PolicyDiff {
    let mut changes = Vec::new();
    compare(&mut Vec::new(), &written_out(old), &written_out(new), &mut changes);
    PolicyDiff {
        api_version: codex_k8s_shared::policy::API_VERSION,
        kind: "PolicyDiff",
        old: old.hash(),
        new: new.hash(),
        registration: registered(old) != registered(new),
        changes,
    }
}

/// Returns the policy with explicit modes for all rules.
fn written_out(policy: &RunPolicy) -> Value {
    let rules = catalogue::all().map(|rule| (rule.id.to_owned(), rule.mode(policy)));
    let policy = RunPolicy { rules: rules.collect(), ..policy.clone() };
    serde_json::to_value(policy).unwrap_or_default()
}

/// Returns the webhook configurations of a policy, without the address of the webhook.
fn registered(policy: &RunPolicy) -> (Value, Value) {
    configurations(policy, &Endpoint::Url(String::new()), None)
}

fn compare<'v>(path: &mut Vec<&'v str>, old: &'v Value, new: &'v Value, changes: &mut Vec<Change>) {
    if old == new || is_same_quantity(path, old, new) {
        return;
    }
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
                path.push(key);
                compare(
                    path,
                    before.get(key).unwrap_or(&Value::Null),
                    after.get(key).unwrap_or(&Value::Null),
                    changes,
                );
                path.pop();
            }
        }
        _ => changes.push(change(path, old, new)),
    }
}

/// Returns true if two values of a ResourceQuota or LimitRange are the same quantity, such as `1` and `1000m` CPUs.
fn is_same_quantity(path: &[&str], old: &Value, new: &Value) -> bool {
    let quantity = |value: &Value| value.as_str()?.parse::<Quantity>().ok();
    matches!(path, ["baseline", _, _, "hard" | "default" | "defaultRequest", _])
        && quantity(old).is_some_and(|old| quantity(new) == Some(old))
}

fn change(path: &[&str], old: &Value, new: &Value) -> Change {
    let rules = catalogue::all().filter(|rule| rule.reads_setting(path));
    Change {
        path: path.iter().fold(String::new(), |path, key| joined(&path, key)),
        old: old.clone(),
        new: new.clone(),
        rules: rules.map(|rule| Reader { id: rule.id, title: rule.title }).collect(),
    }
}

#[cfg(test)]
mod tests;
