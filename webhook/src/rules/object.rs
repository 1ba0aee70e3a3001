//! Accessors for the parts of an object. Absent, `null` and empty are the same.

use serde_json::{Map, Value};

/// The metadata of an object or of a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta<'a>(Option<&'a Map<String, Value>>);

impl<'a> Meta<'a> {
    /// Returns the metadata below `holder.metadata`.
    pub(crate) fn of(holder: &'a Value) -> Self {
        Self(holder.get("metadata").and_then(Value::as_object))
    }

    /// Returns metadata without any fields.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    fn field(self, name: &str) -> Option<&'a Value> {
        self.0.and_then(|map| map.get(name))
    }

    /// Returns a string field, such as `name`.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.field(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Returns the value of a label.
    pub(crate) fn label(self, key: &str) -> Option<&'a str> {
        self.field("labels").and_then(|labels| labels.get(key)).and_then(Value::as_str)
    }

    /// Returns the value of an annotation.
    pub(crate) fn annotation(self, key: &str) -> Option<&'a str> {
        self.field("annotations").and_then(|annotations| annotations.get(key)).and_then(Value::as_str)
    }

    /// Returns all labels in the order of their keys.
    pub(crate) fn labels(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries("labels")
    }

    /// Returns all annotations in the order of their keys.
    pub(crate) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries("annotations")
    }

    fn entries(self, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.field(name).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// Returns the entries of `managedFields`.
    pub(crate) fn managed_fields(self) -> impl Iterator<Item = &'a Value> {
        items(self.field("managedFields"))
    }

    /// Returns the entries of `finalizers`.
    pub(crate) fn finalizers(self) -> impl Iterator<Item = &'a str> {
        items(self.field("finalizers")).filter_map(Value::as_str)
    }

    /// Returns the entries of `ownerReferences`.
    pub(crate) fn owners(self) -> impl Iterator<Item = &'a Value> {
        items(self.field("ownerReferences"))
    }

    /// Returns true if the object is being deleted.
    pub(crate) fn is_terminating(self) -> bool {
        self.text("deletionTimestamp").is_some()
    }
}

/// Returns the elements of an array that may be absent.
pub(crate) fn items(array: Option<&Value>) -> impl Iterator<Item = &Value> {
    array.and_then(Value::as_array).into_iter().flatten()
}

/// Returns the value at a path of object keys; `null` counts as absent.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Returns a string field of an object; an empty one counts as absent.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns true if a boolean field is `true`.
pub(crate) fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool) == Some(true)
}
