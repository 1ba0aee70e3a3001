//! Formats examples as YAML, for the documentation and for `explain`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Example, Outcome, read};
use crate::rules::Operation;

/// An example as it is printed: empty fields are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    example: &'static str,
    user: &'static str,
    operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<String>,
    answer: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<&'static str, Value>,
}

impl From<&Example> for Printed {
    fn from(example: &Example) -> Self {
        let part = |yaml: &str| (!yaml.is_empty()).then(|| read(yaml));
        let setting = example.setting.description();
        let (answer, fields) = answer(example.outcome);
        Self {
            example: example.name,
            user: example.user.description(),
            operation: operation(example),
            setting: (!setting.is_empty()).then_some(setting),
            policy: part(example.policy),
            stored: part(example.before),
            change: part(example.change),
            repeated: example
                .repeated
                .map(|(list, length)| format!("the last entry of {list}, {length} in all")),
            answer,
            fields,
        }
    }
}

/// Returns the operation and its object, such as `update the status of the Job`.
fn operation(example: &Example) -> String {
    let verb = match example.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect to",
    };
    let part = example.subresource.filter(|_| example.operation == Operation::Update);
    let part = part.map_or_else(String::new, |subresource| format!("{subresource} of the "));
    format!("{verb} the {part}{}", example.base.title())
}

fn answer(outcome: Outcome) -> (String, BTreeMap<&'static str, Value>) {
    let none = BTreeMap::new();
    match outcome {
        Outcome::Admitted => ("admitted".to_owned(), none),
        Outcome::Denied(path) => (format!("denied at {path}"), none),
        Outcome::Warned(path) => (format!("admitted with a warning at {path}"), none),
        Outcome::Mutated(fields) => {
            ("mutated".to_owned(), fields.iter().map(|(path, value)| (*path, read(value))).collect())
        }
    }
}

/// Returns examples as a YAML list. Objects are shown by their differences from those of [`super::Object`].
pub fn yaml<'a>(examples: impl IntoIterator<Item = &'a Example>) -> String {
    let printed: Vec<_> = examples.into_iter().map(Printed::from).collect();
    serde_saphyr::to_string(&printed).unwrap_or_default()
}
