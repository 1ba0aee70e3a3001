//! The text of a YAML document, edited in place.

use std::str::FromStr as _;

use granit_parser::{Event, Parser};
use serde_json::{Map, Value};
use yaml_edit::{Document, Mapping, ScalarValue, Sequence, YamlNode, YamlValue};

/// The text that reads as the new value, of one that reads as the old; nothing, where it has a form that cannot be edited.
pub(super) fn edited(text: &str, old: &Value, new: &Value) -> Option<String> {
    let document = Document::from_str(text).ok().filter(|document| document.to_string() == text)?;
    amend_mapping(&document.as_mapping()?, old.as_object()?, new.as_object()?)?;
    Some(document.to_string())
}

/// The comments of a document, in their order.
pub(super) fn comments(text: &str) -> Option<Vec<String>> {
    let document = Document::from_str(text).ok()?;
    Some(document.comments().map(|comment| comment.text().to_owned()).collect())
}

/// Whether a part of a document stands for another.
pub(super) fn is_aliased(text: &str) -> bool {
    Parser::new_from_str(text).any(|event| matches!(event, Ok((Event::Alias(_), _))))
}

fn amend_mapping(mapping: &Mapping, old: &Map<String, Value>, new: &Map<String, Value>) -> Option<()> {
    for gone in old.keys().filter(|key| !new.contains_key(*key)) {
        mapping.remove(gone.as_str())?;
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(same), value) if same == value => {}
            (Some(Value::Object(old)), Value::Object(new)) if !old.is_empty() => {
                amend_mapping(&mapping.get_mapping(key.as_str())?, old, new)?;
            }
            (Some(Value::Array(old)), Value::Array(new)) if !old.is_empty() => {
                amend_sequence(&mapping.get_sequence(key.as_str())?, old, new)?;
            }
            (_, value) => mapping.set(key.as_str(), written(value)?),
        }
    }
    Some(())
}

/// Nothing is taken out of the middle of a list: which one it was cannot be told from what is left.
fn amend_sequence(sequence: &Sequence, old: &[Value], new: &[Value]) -> Option<()> {
    let both = new.get(..old.len())?;
    for (index, (old, new)) in old.iter().zip(both).enumerate().filter(|(_, (old, new))| old != new) {
        match (sequence.get(index)?, old, new) {
            (YamlNode::Mapping(mapping), Value::Object(old), Value::Object(new)) => {
                amend_mapping(&mapping, old, new)?;
            }
            _ => return None,
        }
    }
    for value in new.iter().skip(old.len()) {
        sequence.push(written(value)?);
    }
    Some(())
}

fn written(value: &Value) -> Option<YamlValue> {
    Some(match value {
        Value::Null => ScalarValue::null().into(),
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.as_i64()?.into(),
        // Times and the like: there are readers to whom they are no text without quotes.
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            ScalarValue::double_quoted(text.as_str()).into()
        }
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => YamlValue::Sequence(items.iter().map(written).collect::<Option<_>>()?),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| Some((key.clone(), written(value)?)));
            YamlValue::Mapping(fields.collect::<Option<_>>()?)
        }
    })
}
