//! Objects read as strictly as an API server reads them from kubectl: the types of all fields, and unknown fields.
//!
//! An API server refuses such an object before admission, so the rules never see it.

mod kinds;
mod reader;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

pub(super) use reader::{Defect, Notes};
use reader::{Path, decode};

use crate::rules::Kind;

/// The id in reports, in the place of a rule's.
pub const RULE: &str = "SCHEMA";
/// Its title.
pub const TITLE: &str = "An object has the fields and the types of its kind";
/// Its reason.
pub const WHY: &str = "The API server refuses an object that it cannot read, before any rule is evaluated.";
/// The way to comply.
pub const REMEDY: &str = "Correct the field. kubectl explain prints the fields of a kind with their types.";

/// Returns true for a kind that the API server decodes into a type.
pub(super) fn is_known(api_version: &str, kind: &str) -> bool {
    kinds::find(api_version, kind).is_some()
}

/// Decodes an object. Of a kind without a type, such as a custom resource, only the metadata are decoded.
pub(super) fn read(api_version: &str, kind: &str, object: &Value) -> Notes {
    if let Some(known) = kinds::find(api_version, kind) {
        return (known.decode)(object, Path::Root);
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    if Kind::of(group, kind).is_some() {
        let found = format!("{api_version:?}");
        let remedy =
            format!("must be a version of {kind} that the API server has: kubectl api-resources lists them");
        return Notes {
            defects: vec![Defect { path: "apiVersion".to_owned(), found, remedy }],
            ..Notes::default()
        };
    }
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    decode::<ObjectMeta>(metadata, Path::Field(&Path::Root, "metadata"))
}

#[cfg(test)]
mod tests;
