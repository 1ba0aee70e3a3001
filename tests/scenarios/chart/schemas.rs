//! kubeconform, with the schemas that the target API server itself publishes, a file for each kind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use codex_k8s_tests::{Kubectl, binaries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The schemas of an API server.
pub(crate) struct Schemas(TempDir);

impl Schemas {
    /// Reads the schemas for the API versions of these objects.
    pub(crate) fn read(kubectl: &Kubectl, objects: &[Value]) -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        let versions: BTreeSet<_> =
            objects.iter().map(|object| object["apiVersion"].as_str().unwrap()).collect();
        for version in versions {
            let lead = if version.contains('/') { "apis" } else { "api" };
            let ran = kubectl.run(&["get", "--raw", &format!("/openapi/v3/{lead}/{version}")]).unwrap();
            assert!(ran.succeeded(), "{ran}");
            new.write(&serde_json::from_str(&ran.stdout).unwrap());
        }
        new
    }

    fn write(&self, published: &Value) {
        let mut schemas = published["components"]["schemas"].clone();
        schemas.as_object_mut().unwrap().values_mut().for_each(close);
        for (name, schema) in schemas.as_object().unwrap() {
            let text = |kind: &Value, key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
            for kind in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                let group = text(kind, "group");
                let group = group.split('.').next().filter(|group| !group.is_empty());
                let group = group.map_or(String::new(), |group| format!("-{group}"));
                let file = format!("{}{group}-{}.json", text(kind, "kind"), text(kind, "version"));
                let whole = json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": schemas}});
                fs::write(self.0.path().join(file), whole.to_string()).unwrap();
            }
        }
    }

    /// The findings of kubeconform: a line for each object that violates its schema, and the number of valid ones.
    pub(crate) fn findings(&self, objects: &[Value]) -> (Vec<String>, usize) {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let location =
            format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", self.0.path().display());
        let mut process = Command::new(PROGRAM.get_or_init(|| binaries::kubeconform().unwrap()))
            .args(["-strict", "-output", "json", "-verbose", "-schema-location", &location])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let documents: Vec<_> = objects.iter().map(Value::to_string).collect();
        process.stdin.take().unwrap().write_all(documents.join("\n---\n").as_bytes()).unwrap();
        let told: Value = serde_json::from_slice(&process.wait_with_output().unwrap().stdout).unwrap();
        let (valid, others): (Vec<_>, Vec<_>) =
            told["resources"].as_array().unwrap().iter().partition(|found| found["status"] == "statusValid");
        let line = |found: &&Value| format!("{} {}: {}", found["kind"], found["name"], found["msg"]);
        (others.iter().map(line).collect(), valid.len())
    }
}

/// Forbids fields that the schema does not name, at every level: the published schema does not forbid them itself.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(close),
        Value::Object(fields) => {
            let is_open = fields.contains_key("additionalProperties")
                || fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|open| *open == true);
            if fields.get("properties").is_some_and(Value::is_object) && !is_open {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
            fields.values_mut().for_each(close);
        }
        _ => {}
    }
}
