//! What differs between two policies: each setting in words, with the rules that it concerns, and whether more is
//! allowed or less.
//!
//! A table has every setting of the policy; a test compares it with the policy's schema.

mod settings;
mod width;
mod words;

use codex_k8s_shared::baseline::joined;
use codex_k8s_shared::policy::RunPolicy;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::registration::{Endpoint, configurations};
use crate::rules::catalogue;
use settings::Setting;

pub use words::plain;

/// What differs between two policies.
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
    /// Whether the webhook configurations differ as well, so that they have to be applied again.
    pub registration: bool,
    /// The settings that differ. A rule's mode that is written out and is its default all the same does not.
    pub changes: Vec<Change>,
}

/// A setting that differs.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The field, as a path in the document.
    pub path: String,
    /// What it was; `null` if it was not there.
    pub old: Value,
    /// What it is to be; `null` if it goes.
    pub new: Value,
    /// What that means, in a sentence.
    pub means: String,
    /// Whether more is allowed or less, where that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The rules that it concerns; none where no rule reads it.
    pub rules: Vec<Concerned>,
}

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// More is allowed, or for longer.
    Widens,
    /// Less is allowed, or for a shorter time.
    Narrows,
}

/// A rule that a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Concerned {
    /// Its id.
    pub id: &'static str,
    /// What it says.
    pub title: &'static str,
}

impl PolicyDiff {
    /// The JSON Schema of differences.
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

/// The policy with the mode of every rule in it.
fn written_out(policy: &RunPolicy) -> Value {
    let rules = catalogue::all().map(|rule| (rule.id.to_owned(), crate::rules::mode(policy, rule)));
    let policy = RunPolicy { rules: rules.collect(), ..policy.clone() };
    serde_json::to_value(policy).unwrap_or_default()
}

/// What the API server is told of the policy, wherever the webhook is.
fn registered(policy: &RunPolicy) -> (Value, Value) {
    configurations(policy, &Endpoint::Url(String::new()), None)
}

fn compare<'v>(path: &mut Vec<&'v str>, old: &'v Value, new: &'v Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    match (old, new) {
        // Of a section that may be absent, this is one that is there.
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

fn change(path: &[&str], old: &Value, new: &Value) -> Change {
    let found = settings::find(path);
    let (means, effect, rules) = match &found {
        Some((setting, at)) => (
            words::sentence(setting.words, at, old, new),
            width::effect(setting.wider, old, new),
            concerned(setting, at),
        ),
        // The table has every setting: a test sees to it.
        None => (format!("is {}", words::instead(old, new)), None, Vec::new()),
    };
    let path = path.iter().fold(String::new(), |path, key| joined(&path, key));
    Change { path, old: old.clone(), new: new.clone(), means, effect, rules }
}

fn concerned(setting: &Setting, at: &[&str]) -> Vec<Concerned> {
    let rules = catalogue::all().filter(|rule| setting.concerns(rule.id, at));
    rules.map(|rule| Concerned { id: rule.id, title: rule.title }).collect()
}

#[cfg(test)]
mod tests;
