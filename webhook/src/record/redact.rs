//! Redaction of everything in an object that can be a secret and that no rule reads.
//!
//! A hidden value is replaced by a number, the same one for equal values in a review. A replay can therefore see if an
//! update changed the value, which is all that rules need. The number reveals nothing about the value; a hash would
//! allow guessing.

use std::collections::HashMap;

use codex_k8s_shared::keys;
use serde_json::{Value, json};

use crate::rules::Kind;
use crate::rules::workload::{APP_ARMOR, LIMIT_RANGER, RUN_VARIABLES};

/// Fields whose content is hidden everywhere. Messages are texts of controllers and programs.
const HIDDEN: [&str; 8] =
    ["command", "args", "httpGet", "httpHeaders", "volumeAttributes", "options", "message", "token"];

/// Fields of the object itself whose content is hidden. A `ControllerRevision` has its template there.
const CONTENT: [&str; 3] = ["data", "stringData", "binaryData"];

/// Fields whose keys are chosen by users and are not names of fields.
const NAMES: [&str; 3] = ["labels", "matchLabels", "nodeSelector"];

/// Redacts the values of one review.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    hidden: HashMap<String, usize>,
}

impl Redactor {
    /// Hides everything in an object that no rule reads.
    pub(crate) fn redact(&mut self, kind: Kind, object: &mut Value) {
        let fields = if kind == Kind::Pod { authors_fields(object) } else { Value::Null };
        for content in CONTENT.into_iter().filter(|_| kind != Kind::Revision) {
            if let Some(content) = object.get_mut(content) {
                self.hide(content);
            }
        }
        self.walk(object);
        if let (false, Some(metadata)) = (fields.is_null(), object.get_mut("metadata")) {
            metadata["managedFields"] = fields;
        }
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("managedFields");
                for (key, value) in map {
                    match key.as_str() {
                        "annotations" => self.annotations(value),
                        "env" => self.environment(value),
                        key if HIDDEN.contains(&key) => self.hide(value),
                        key if NAMES.contains(&key) => {}
                        _ => self.walk(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.walk(value)),
            _ => {}
        }
    }

    /// Hides annotations, except those with our own keys and those that rules read. Any other can contain anything,
    /// such as kubectl's copy of the whole object.
    fn annotations(&mut self, annotations: &mut Value) {
        let Value::Object(map) = annotations else { return self.hide(annotations) };
        let is_looked_at = |key: &str| {
            keys::in_domain(key) || keys::is_legacy(key) || key.starts_with(APP_ARMOR) || key == LIMIT_RANGER
        };
        map.iter_mut().filter(|(key, _)| !is_looked_at(key)).for_each(|(_, value)| self.hide(value));
    }

    /// Hides all variables except those that identify the run.
    fn environment(&mut self, variables: &mut Value) {
        let Value::Array(variables) = variables else { return self.hide(variables) };
        for variable in variables {
            let name = variable.get("name").and_then(Value::as_str);
            let is_looked_at = name.is_some_and(|name| RUN_VARIABLES.contains(&name));
            match variable.get_mut("value") {
                Some(_) if is_looked_at => {}
                Some(value) => self.hide(value),
                None => {}
            }
        }
    }

    /// Keeps the presence and the type of a value, because rules check both.
    fn hide(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if !text.is_empty() => {
                let number = self.number(std::mem::take(text));
                *text = format!("(redacted {number})");
            }
            Value::Number(number) => *value = self.number(number.to_string()).into(),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.hide(value)),
            Value::String(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    fn number(&mut self, value: String) -> usize {
        let next = self.hidden.len() + 1;
        *self.hidden.entry(value).or_insert(next)
    }
}

/// Returns the part of a Pod's `managedFields` that rules read: the names of the fields of `spec` that its author set.
fn authors_fields(object: &Value) -> Value {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let spec = |manager: &Value| {
        let fields = manager.pointer("/fieldsV1/f:spec").and_then(Value::as_object);
        let names = fields.into_iter().flat_map(serde_json::Map::keys).map(|name| (name.clone(), json!({})));
        json!({"fieldsV1": {"f:spec": names.collect::<serde_json::Map<_, _>>()}})
    };
    managers.map_or(Value::Null, |managers| managers.iter().map(spec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_managed_fields_of_a_pod_only_the_names_of_fields_stay() {
        let managed = json!([{"manager": "kubectl", "fieldsV1": {"f:metadata": {}, "f:spec": {
            "f:containers": {"k:{\"name\":\"hunter2\"}": {}}, "f:tolerations": {}}}}]);
        let hidden = redacted(Kind::Pod, json!({"metadata": {"managedFields": managed}}));
        let names = json!({"fieldsV1": {"f:spec": {"f:containers": {}, "f:tolerations": {}}}});
        assert_eq!(hidden["metadata"]["managedFields"], json!([names]));
        let hidden = redacted(Kind::Job, json!({"metadata": {"managedFields": managed}}));
        assert_eq!(hidden["metadata"], json!({}));
    }

    fn redacted(kind: Kind, mut object: Value) -> Value {
        Redactor::default().redact(kind, &mut object);
        object
    }

    #[test]
    fn the_same_value_is_hidden_as_the_same_and_another_as_another() {
        let hidden = redacted(Kind::Pod, json!({"spec": {"args": ["a", "b", "a", ""]}}));
        assert_eq!(hidden["spec"]["args"], json!(["(redacted 1)", "(redacted 2)", "(redacted 1)", ""]));
    }

    #[test]
    fn of_variables_only_those_that_report_the_run_keep_their_value() {
        let env = json!([
            {"name": "CODEXK8S_RUN_ID", "value": "r1"},
            {"name": "TOKEN", "value": "hunter2"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "openai"}}},
        ]);
        let hidden = redacted(Kind::Pod, json!({"spec": {"containers": [{"env": env}]}}));
        let hidden = &hidden["spec"]["containers"][0]["env"];
        assert_eq!(hidden[0]["value"], "r1");
        assert_eq!(hidden[1]["value"], "(redacted 1)");
        assert_eq!(hidden[2]["valueFrom"]["secretKeyRef"]["name"], "keys", "it is a name, and no secret");
    }

    #[test]
    fn of_annotations_those_that_rules_read_keep_their_value() {
        let annotations =
            json!({LIMIT_RANGER: "LimitRanger plugin set: cpu limit for container c", "note": "hunter2"});
        let hidden = redacted(Kind::Pod, json!({"metadata": {"annotations": annotations}}));
        assert_eq!(hidden["metadata"]["annotations"][LIMIT_RANGER], annotations[LIMIT_RANGER]);
        assert_eq!(hidden["metadata"]["annotations"]["note"], "(redacted 1)");
    }

    #[test]
    fn content_is_hidden_but_the_template_of_a_revision_is_looked_at() {
        let secret = redacted(Kind::Secret, json!({"data": {"password": "aHVudGVyMg=="}}));
        assert_eq!(secret["data"]["password"], "(redacted 1)");
        let spec = json!({"hostNetwork": true, "containers": [{"image": "busybox", "args": ["hunter2"]}]});
        let data = json!({"spec": {"template": {"spec": spec}}});
        let revision = redacted(Kind::Revision, json!({"data": data}));
        let container = &revision["data"]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!((&container["image"], &container["args"][0]), (&json!("busybox"), &json!("(redacted 1)")));
    }
}
