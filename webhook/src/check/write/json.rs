//! The text of a JSON document, edited in place. JSON in one line is left to the editor of YAML, which keeps it in one.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::{Map, Value};

/// Whether a text is JSON of several lines.
pub(super) fn is_it(text: &str) -> bool {
    text.trim().contains('\n') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The text that reads as the new value, of one that reads as the old; nothing, where it has a form that cannot be edited.
pub(super) fn edited(text: &str, old: &Value, new: &Value) -> Option<String> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).ok()?;
    amend_object(&root.object_value()?, old.as_object()?, new.as_object()?)?;
    Some(root.to_string())
}

fn amend_object(object: &CstObject, old: &Map<String, Value>, new: &Map<String, Value>) -> Option<()> {
    for gone in old.keys().filter(|key| !new.contains_key(*key)) {
        object.get(gone)?.remove();
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(same), value) if same == value => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                amend_object(&object.object_value(key)?, old, new)?;
            }
            (Some(Value::Array(old)), Value::Array(new)) => amend_array(&object.array_value(key)?, old, new)?,
            (Some(_), value) => object.get(key)?.set_value(written(value)),
            (None, value) => {
                object.append(key, written(value));
            }
        }
    }
    Some(())
}

fn amend_array(array: &CstArray, old: &[Value], new: &[Value]) -> Option<()> {
    let both = new.get(..old.len())?;
    let elements = array.elements();
    for (element, (old, new)) in
        elements.iter().zip(old.iter().zip(both)).filter(|(_, (old, new))| old != new)
    {
        amend_object(&element.as_object()?, old.as_object()?, new.as_object()?)?;
    }
    for value in new.iter().skip(old.len()) {
        array.append(written(value));
    }
    Some(())
}

fn written(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(written).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(key, value)| (key.clone(), written(value))).collect())
        }
    }
}
