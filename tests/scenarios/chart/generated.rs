//! Generated files of the chart: the policy's part of its values.schema.json, and the table of values in its README.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::documented::{document, writes};
use crate::values::chart;

/// The path of the policy's schema within values.schema.json.
const POLICY: &str = "#/definitions/policy/definitions/";

/// Adapts the schema of a policy file to values: draft 7, which every helm reads; no defaults; `off` also as Helm reads
/// it without quotes; and numbers among quantities, which the program reads as text.
fn adapt(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("default");
    if fields.get("const").is_some_and(|text| text == "off") {
        *schema = json!({"description": fields["description"], "enum": ["off", false]});
        return;
    }
    if let Some(reference) = fields.get_mut("$ref") {
        *reference = reference.as_str().unwrap().replace("#/$defs/", POLICY).into();
    }
    if let Some(definitions) = fields.remove("$defs") {
        fields.insert("definitions".to_owned(), definitions);
    }
    for key in ["properties", "definitions"] {
        for part in fields.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            adapt(part);
        }
    }
    if fields.get("additionalProperties").is_some_and(|values| values["type"] == "string") {
        fields["additionalProperties"]["type"] = json!(["string", "number"]);
    }
    for key in ["additionalProperties", "items"] {
        fields.get_mut(key).into_iter().for_each(adapt);
    }
    for key in ["anyOf", "oneOf"] {
        fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(adapt);
    }
}

/// The schema of the value `policy`: of a policy file, without the two fields that the chart adds.
fn policy() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/run-policy.schema.json");
    let mut schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let fields = schema.as_object_mut().unwrap();
    for key in ["$schema", "required"] {
        fields.remove(key);
    }
    for (list, names) in [("properties", ["apiVersion", "kind"]), ("$defs", ["ApiVersion", "Kind"])] {
        for name in names {
            fields[list].as_object_mut().unwrap().remove(name).unwrap();
        }
    }
    adapt(&mut schema);
    schema
}

#[test]
fn what_is_rendered_into_the_schema_of_the_values_is_the_schema_of_the_policy() {
    let file = chart().join("values.schema.json");
    let text = fs::read_to_string(&file).unwrap();
    let lead = "\n    \"policy\": ";
    let (before, _) = text.rsplit_once(lead).unwrap();
    let written = serde_json::to_string_pretty(&policy()).unwrap().replace('\n', "\n    ");
    let expected = format!("{before}{lead}{written}\n  }}\n}}\n");
    if writes() {
        fs::write(&file, expected).unwrap();
    } else {
        assert!(text == expected, "values.schema.json: if this is meant, run `make generate`");
    }
}

/// A key of values.yaml.
struct Key {
    path: Vec<String>,
    comment: String,
    /// True if its value begins on its own line.
    inline: bool,
}

/// The keys of values.yaml in their order, each with the comment above it.
fn keys(text: &str) -> Vec<Key> {
    let (mut keys, mut comment, mut above) = (Vec::new(), Vec::new(), Vec::<(usize, String)>::new());
    for line in text.lines() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if let Some(more) = content.strip_prefix('#') {
            comment.push(more.trim());
        } else if let Some((key, rest)) = content.split_once(':').filter(|_| !content.starts_with('-')) {
            above.retain(|(outer, _)| *outer < depth);
            above.push((depth, key.to_owned()));
            let path = above.iter().map(|(_, key)| key.clone()).collect();
            keys.push(Key { path, comment: comment.join(" "), inline: !rest.trim().is_empty() });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    keys
}

/// A row for each value that has a comment, or whose twin of the webhook has one.
fn table() -> String {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let keys = keys(&text);
    let comments: BTreeMap<_, _> = keys.iter().map(|key| (key.path.join("."), &*key.comment)).collect();
    let comment = |path: &[String]| {
        let twin = format!("serve.{}", path[1..].join("."));
        let own = comments.get(&path.join(".")).copied().unwrap_or_default();
        if own.is_empty() { comments.get(&twin).copied().unwrap_or_default() } else { own }
    };
    let has_rows = |path: &[String]| {
        let within = |key: &&Key| key.path.len() > path.len() && key.path.starts_with(path);
        keys.iter().filter(within).any(|key| !comment(&key.path).is_empty())
    };
    let mut rows = "| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    let mut whole: Option<&[String]> = None;
    for key in &keys {
        if whole.is_some_and(|outer| key.path.len() > outer.len() && key.path.starts_with(outer)) {
            continue;
        }
        let value = values.pointer(&format!("/{}", key.path.join("/"))).unwrap();
        let is_section = !key.inline && value.is_object() && has_rows(&key.path);
        whole = (!is_section).then_some(&key.path);
        let default = if is_section { String::new() } else { format!("`{value}`") };
        let (path, comment) = (key.path.join("."), comment(&key.path));
        assert!(is_section || !comment.is_empty(), "{path} has no comment in values.yaml");
        if !comment.is_empty() {
            writeln!(rows, "| `{path}` | {default} | {} |", comment.replace('|', "\\|")).unwrap();
        }
    }
    rows
}

#[test]
fn the_values_are_documented_as_their_comments_say() {
    document("deploy/chart/README.md", "values", &table());
}
