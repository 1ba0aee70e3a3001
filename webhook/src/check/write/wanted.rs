//! What a file is to hold, so that what is stored of it needs no mending.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::Value;

use super::super::defaults;
use super::{Document, Judgement};

/// The object of a file with what is mended of it. What the API server would fill in stays out, with one exception: what
/// it would no longer fill in beside what is mended, as the labels of a Job, which it copies from the Job's template only
/// where there are none.
///
/// Nothing, if that would not be stored as what was judged.
pub(super) fn of(document: &Document, judgement: &Judgement) -> Option<Value> {
    let filled = |mut object: Value| {
        defaults::fill_in(&document.kind, &mut object);
        object
    };
    let mut stored = filled(document.object.clone());
    let mut wanted = document.object.clone();
    for operation in &judgement.patch.0 {
        lay_way(&mut wanted, &stored, path(operation)?);
        for object in [&mut wanted, &mut stored] {
            json_patch::patch(object, std::slice::from_ref(operation)).ok()?;
        }
    }
    (filled(wanted.clone()) == filled(stored)).then_some(wanted)
}

fn path(operation: &PatchOperation) -> Option<&Pointer> {
    match operation {
        PatchOperation::Add(add) => Some(&add.path),
        PatchOperation::Remove(remove) => Some(&remove.path),
        _ => None,
    }
}

/// Takes over what is missing on the way to a path.
fn lay_way(wanted: &mut Value, stored: &Value, path: &Pointer) {
    let Some(parent) = path.parent() else { return };
    let (mut wanted, mut stored) = (wanted, stored);
    for token in parent.tokens() {
        let key = token.decoded();
        let Some(inner) = in_it(stored, &key) else { return };
        stored = inner;
        if let Value::Object(fields) = wanted {
            let field = fields.entry(key.as_ref()).or_insert(Value::Null);
            let is_bare = field.as_object().map_or(field.is_null(), serde_json::Map::is_empty);
            if is_bare {
                field.clone_from(inner);
            }
            wanted = field;
        } else {
            let Some(inner) = key.parse::<usize>().ok().and_then(|index| wanted.get_mut(index)) else {
                return;
            };
            wanted = inner;
        }
    }
}

fn in_it<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    }
}
