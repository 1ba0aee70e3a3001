//! Builds a JSON patch whose additions create missing parents.

use std::collections::HashSet;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

/// Edits of one object, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    object: &'a Value,
    /// JSON pointers of the parents that the patch creates.
    created: HashSet<String>,
    operations: Vec<PatchOperation>,
    warnings: Vec<String>,
}

impl<'a> Edits<'a> {
    /// Starts without edits of `object`.
    pub(crate) fn new(object: &'a Value) -> Self {
        Self { object, created: HashSet::new(), operations: Vec::new(), warnings: Vec::new() }
    }

    /// Adds a label below `holder.metadata`.
    pub(crate) fn label(&mut self, holder: &[&str], key: &str, value: &str) {
        self.metadata(holder, "labels", key, value);
    }

    /// Adds an annotation below `holder.metadata`.
    pub(crate) fn annotation(&mut self, holder: &[&str], key: &str, value: &str) {
        self.metadata(holder, "annotations", key, value);
    }

    fn metadata(&mut self, holder: &[&str], map: &str, key: &str, value: &str) {
        let mut path = holder.to_vec();
        path.extend(["metadata", map, key]);
        self.set(&path, value.into());
    }

    /// Sets a field, and creates missing objects on the way to it.
    pub(crate) fn set(&mut self, path: &[&str], value: Value) {
        if let Some((_, parents)) = path.split_last() {
            self.ensure(parents, &json!({}));
        }
        self.add(path, value);
    }

    /// Inserts into an array before the entry at `index`, and creates the array if it is missing.
    pub(crate) fn insert(&mut self, array: &[&str], index: usize, value: Value) {
        if let Some((_, parents)) = array.split_last() {
            self.ensure(parents, &json!({}));
        }
        self.ensure_one(array, &json!([]));
        let index = index.to_string();
        let mut path = array.to_vec();
        path.push(&index);
        self.add(&path, value);
    }

    /// Removes the value at an existing path.
    pub(crate) fn remove(&mut self, path: &[&str]) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.operations.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    fn add(&mut self, path: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn ensure(&mut self, path: &[&str], empty: &Value) {
        for depth in 1..=path.len() {
            if let Some(parent) = path.get(..depth) {
                self.ensure_one(parent, empty);
            }
        }
    }

    fn ensure_one(&mut self, path: &[&str], empty: &Value) {
        let pointer = PointerBuf::from_tokens(path.iter().copied());
        let present = pointer.resolve(self.object).is_ok_and(|value| !value.is_null());
        if !present && self.created.insert(pointer.as_str().to_owned()) {
            self.add(path, empty.clone());
        }
    }

    /// Warns the author of the object about an edit that replaces a value.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Returns the patch and the warnings.
    pub(crate) fn finish(self) -> (Patch, Vec<String>) {
        (Patch(self.operations), self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(mut object: Value, edit: impl FnOnce(&mut Edits<'_>)) -> Value {
        let before = object.clone();
        let mut edits = Edits::new(&before);
        edit(&mut edits);
        json_patch::patch(&mut object, &edits.finish().0).unwrap();
        object
    }

    #[test]
    fn parents_that_are_missing_or_null_are_created_once() {
        for object in [json!({}), json!({"metadata": null}), json!({"metadata": {"labels": null}})] {
            let object = applied(object, |edits| {
                edits.label(&[], "example.dev/a", "1");
                edits.label(&[], "b", "2");
            });
            assert_eq!(object, json!({"metadata": {"labels": {"example.dev/a": "1", "b": "2"}}}));
        }
    }

    #[test]
    fn an_array_that_is_missing_is_created_and_one_that_is_there_keeps_its_entries_behind() {
        let insert = |edits: &mut Edits<'_>| {
            edits.insert(&["spec", "env"], 0, json!(1));
            edits.insert(&["spec", "env"], 1, json!(2));
        };
        assert_eq!(applied(json!({}), insert), json!({"spec": {"env": [1, 2]}}));
        assert_eq!(applied(json!({"spec": {"env": [3]}}), insert), json!({"spec": {"env": [1, 2, 3]}}));
    }
}
