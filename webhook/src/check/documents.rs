//! Kubernetes objects in files: YAML or JSON, several per file; lists are unfolded.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::decode::{self, Defect};
use super::encoding;
use super::source::{self, Position, Source};
use super::stream::{self, Part};
use super::yaml::Node;

/// Maximum nesting depth of lists.
const DEEPEST: usize = 8;

/// The API groups of files for programs. No cluster stores their kinds.
const FOR_PROGRAMS: [&str; 6] = [
    "audit.k8s.io",
    "check.codex-k8s.dev",
    "kind.x-k8s.io",
    "kubeadm.k8s.io",
    "kustomize.config.k8s.io",
    "policy.codex-k8s.dev",
];
/// The end of the API groups of component configurations.
const CONFIGURATION: &str = ".config.k8s.io";

/// An object with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The text that contains it.
    pub source: Arc<Source>,
    node: Option<Node>,
    /// The first line of its document, from 1.
    pub line: usize,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The object, with its quantities as the API server writes them.
    pub object: Value,
    pub(super) defects: Vec<Defect>,
}

/// Maximum file size in bytes: enough for about 10,000 Pods of a cluster, which take about 1 GiB of memory. A larger file
/// is probably the wrong one.
pub const LARGEST: usize = 32 << 20;

/// The reason why a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was named. Like with kubectl, everything in it must be an object.
    Named,
    /// It is in a folder that was named. Documents that are not for a cluster are passed over.
    InFolder,
}

/// The contents of a file.
#[derive(Debug, Default)]
pub struct Contents {
    /// The objects in their order.
    pub documents: Vec<Document>,
    /// The documents that are not objects for a cluster.
    pub passed_over: Vec<PassedOver>,
}

/// A file, or a document in it, that is not evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// The file.
    pub file: String,
    /// The first line of the document, from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
}

/// The reason why a file cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that are not text.
    #[error("{file}:{line}:{column}: found {found}; expected YAML or JSON in UTF-8")]
    NotText {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The column in characters.
        column: usize,
        /// The encoding that was found.
        found: &'static str,
    },
    /// A file that is too large.
    #[error("{file}: found more than {} MiB; expected objects for a cluster: give them in several files", LARGEST >> 20)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// Text that is not YAML.
    #[error("{file}:{line}:{column}: found what is neither YAML nor JSON: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The column in characters.
        column: usize,
        /// The problem.
        problem: String,
    },
    /// YAML that is not a Kubernetes object.
    #[error("{file}:{line}:{column}: {field}: found {found}; expected {expected}")]
    Form {
        /// The file.
        file: String,
        /// The line of the field, or of its parent.
        line: usize,
        /// The column in characters.
        column: usize,
        /// The field.
        field: String,
        /// The value that was found.
        found: String,
        /// The expected value.
        expected: &'static str,
    },
}

impl Document {
    /// Creates an object that is not from a file.
    pub fn of_nowhere(object: Value) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let source = Arc::new(Source::new(String::new(), String::new()));
        Self { source, node: None, line: 0, api_version, kind, object, defects: Vec::new() }
    }

    /// Returns the file; `-` for standard input.
    pub fn file(&self) -> &str {
        &self.source.file
    }

    /// Returns the position of a field, whose path is in the form that rules use; that of its nearest parent if it is
    /// missing.
    pub fn position(&self, path: &str) -> Option<Position> {
        self.node.as_ref().map(|node| source::locate(&self.source, node, &source::steps(path)))
    }

    /// Returns the API group; empty for the core group.
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Returns the version of the API group.
    pub(crate) fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// Returns its `metadata.namespace`.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object.pointer("/metadata/namespace").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Returns its name; empty if it has not been generated yet.
    pub fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Parses the objects of a file in their order.
///
/// # Errors
/// [`ReadError`], which names file and line, the value that was found and the expected one.
pub fn read(file: &str, bytes: &[u8], origin: Origin) -> Result<Contents, ReadError> {
    if bytes.len() > LARGEST {
        return Err(ReadError::TooLarge { file: file.to_owned() });
    }
    let text = encoding::decode(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(bytes.get(..error.valid).unwrap_or_default()).into_owned();
        let (line, column) = Source::new(file.to_owned(), before).line_and_column(error.valid);
        ReadError::NotText { file: file.to_owned(), line, column, found: error.found }
    })?;
    let source = Arc::new(Source::new(file.to_owned(), text.into_owned()));
    let parts = stream::parts(source.text()).map_err(|problem| {
        let (line, column) = source.line_and_column(problem.at);
        ReadError::Syntax { file: file.to_owned(), line, column, problem: problem.text }
    })?;
    let mut reader = Reader { source: &source, line: 1, origin, contents: Contents::default() };
    for Part { line, node, value } in parts {
        reader.line = line;
        reader.add(value, node)?;
    }
    if reader.contents.documents.is_empty() && reader.contents.passed_over.is_empty() {
        reader.pass_over("no object in it".to_owned());
    }
    Ok(reader.contents)
}

struct Reader<'s> {
    source: &'s Arc<Source>,
    line: usize,
    origin: Origin,
    contents: Contents,
}

/// A value in a document.
struct Item {
    fields: serde_json::Map<String, Value>,
    node: Option<Node>,
    /// Its path in its document, with a trailing dot; empty if it is the whole document.
    within: String,
    depth: usize,
}

impl Item {
    /// Returns the node of an element of a list in it.
    fn element(&self, index: usize) -> Option<Node> {
        self.node.as_ref()?.field("items")?.element(index).cloned()
    }
}

impl Reader<'_> {
    fn pass_over(&mut self, reason: String) {
        let passed_over = PassedOver { file: self.source.file.clone(), line: self.line, reason };
        self.contents.passed_over.push(passed_over);
    }

    /// Returns an error about a field of an item, or about the item itself if the field is empty.
    fn form(&self, item: &Item, field: &str, found: &Value, expected: &'static str) -> ReadError {
        let position =
            item.node.as_ref().map(|node| source::locate(self.source, node, &source::steps(field)));
        let (line, column) = position.map_or((self.line, 1), |position| (position.line, position.column));
        let path = format!("{}{field}", item.within);
        let field = if path.is_empty() { "(document)".to_owned() } else { path };
        let (file, found) = (self.source.file.clone(), format_value(found));
        ReadError::Form { file, line, column, field, found, expected }
    }

    /// Adds a document.
    fn add(&mut self, value: Value, node: Option<Node>) -> Result<(), ReadError> {
        if value.is_null() {
            return Ok(());
        }
        if let Some(reason) = not_for_a_cluster(&value).filter(|_| self.origin == Origin::InFolder) {
            self.pass_over(reason);
            return Ok(());
        }
        self.unfold(value, node, String::new(), 0)
    }

    /// Adds an object, or each object of a list.
    fn unfold(
        &mut self,
        value: Value,
        node: Option<Node>,
        within: String,
        depth: usize,
    ) -> Result<(), ReadError> {
        let mut item = Item { fields: serde_json::Map::new(), node, within, depth };
        let Value::Object(fields) = value else { return Err(self.form(&item, "", &value, "an object")) };
        item.fields = fields;
        let api_version = self.text(&item, "apiVersion", "an API version, such as v1 or batch/v1")?;
        let kind = self.text(&item, "kind", "a kind, such as Namespace or Job")?;
        if let Some(items) = item.fields.remove("items") {
            return self.unfold_list(&item, items, &api_version, &kind);
        }
        if is_for_a_program(group_of(&api_version)) {
            let expected = "an object for a cluster: this one is for a program";
            return Err(self.form(&item, "kind", &kind.into(), expected));
        }
        // Metadata of another type are an error of decoding.
        if item.fields.get("metadata").is_none_or(Value::is_null) {
            return Err(self.form(&item, "metadata", &Value::Null, "an object with a name"));
        }
        self.push(item, api_version, kind);
        Ok(())
    }

    fn text(&self, item: &Item, key: &str, expected: &'static str) -> Result<String, ReadError> {
        let found = item.fields.get(key).unwrap_or(&Value::Null);
        let text = found.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| self.form(item, key, found, expected))
    }

    /// Adds the objects of a list. Those of a typed list, such as a `PodList`, have its version and their kind even if
    /// they do not name them.
    fn unfold_list(
        &mut self,
        list: &Item,
        items: Value,
        api_version: &str,
        kind: &str,
    ) -> Result<(), ReadError> {
        let items = match items {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            items => return Err(self.form(list, "items", &items, "a list of objects")),
        };
        if list.depth == DEEPEST {
            let expected = "lists that are not nested so deeply";
            return Err(self.form(list, "items", &Value::Null, expected));
        }
        let kind_of_items = kind.strip_suffix("List").unwrap_or(kind);
        for (index, mut item) in items.into_iter().enumerate() {
            let is_typed = item.get("kind").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty());
            if let (false, false, Some(fields)) = (is_typed, kind_of_items.is_empty(), item.as_object_mut()) {
                fields.insert("apiVersion".to_owned(), api_version.into());
                fields.insert("kind".to_owned(), kind_of_items.into());
            }
            let within = format!("{}items[{index}].", list.within);
            self.unfold(item, list.element(index), within, list.depth + 1)?;
        }
        Ok(())
    }

    fn push(&mut self, item: Item, api_version: String, kind: String) {
        let mut object = Value::Object(item.fields);
        let repeated = item.node.as_ref().map(Node::repeated).unwrap_or_default();
        let mut defects: Vec<_> = repeated.into_iter().map(Defect::repeated).collect();
        let notes = decode::read(&api_version, &kind, &object);
        defects.extend(notes.defects);
        for (pointer, quantity) in notes.quantities {
            if let Some(found) = object.pointer_mut(&pointer) {
                *found = quantity.into();
            }
        }
        let (source, line) = (Arc::clone(self.source), self.line);
        let document = Document { source, node: item.node, line, api_version, kind, object, defects };
        self.contents.documents.push(document);
    }
}

fn is_for_a_program(group: &str) -> bool {
    FOR_PROGRAMS.contains(&group) || group.ends_with(CONFIGURATION)
}

/// Returns the reason why a document is not meant for a cluster. An object with a mistake is meant for one.
fn not_for_a_cluster(document: &Value) -> Option<String> {
    let Value::Object(fields) = document else { return Some("not a Kubernetes object".to_owned()) };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let has = |key: &str| fields.contains_key(key);
    let is_meant_as_one = has("kind") || (has("apiVersion") && has("metadata"));
    if !is_meant_as_one {
        return Some("not a Kubernetes object: it has no kind".to_owned());
    }
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let is_unknown = !has("metadata") && !has("items") && !decode::is_known(api_version, kind);
    let is_for_none = is_for_a_program(group_of(api_version)) || is_unknown;
    is_for_none.then(|| format!("{kind} of {api_version} is not an object that a cluster stores"))
}

fn format_value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => other.to_string().chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str, origin: Origin) -> Contents {
        read("f.yaml", text.as_bytes(), origin).unwrap()
    }

    fn names(text: &str) -> Vec<(usize, String)> {
        let documents = documents(text, Origin::Named).documents;
        documents.iter().map(|document| (document.line, document.name().to_owned())).collect()
    }

    fn refused(bytes: &[u8]) -> String {
        read("f.yaml", bytes, Origin::Named).unwrap_err().to_string()
    }

    fn named(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
    }

    #[test]
    fn documents_of_a_stream_come_with_the_lines_that_they_begin_at() {
        let text =
            format!("# first\n{}---\n{}--- # third\n\n---\n{}...\n", named("a"), named("b"), named("c"));
        assert_eq!(names(&text), [(1, "a".to_owned()), (5, "b".to_owned()), (11, "c".to_owned())]);
        assert_eq!(
            names(r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "j"}}"#),
            [(1, "j".to_owned())]
        );
    }

    #[test]
    fn lists_are_unfolded_also_in_lists() {
        let item = |name: &str| {
            format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}"}}}}"#)
        };
        let list = |items: &str| format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{items}]}}"#);
        let text = list(&format!("{}, {}", item("a"), list(&item("b"))));
        assert_eq!(names(&text), [(1, "a".to_owned()), (1, "b".to_owned())]);
        let mut deep = item("a");
        for _ in 0..=DEEPEST {
            deep = list(&deep);
        }
        assert!(refused(deep.as_bytes()).contains("lists that are not nested so deeply"));
    }

    #[test]
    fn a_comment_that_begins_like_a_marker_and_text_in_a_block_end_no_document() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  key: |\n    ---\n    more\n";
        assert_eq!(names(text).len(), 1);
        let documents = read("f", text.as_bytes(), Origin::Named).unwrap().documents;
        assert_eq!(documents[0].object["data"]["key"], "---\nmore\n");
    }

    #[test]
    fn what_is_no_object_is_reported_with_its_line_and_what_was_expected() {
        for (text, message) in [
            ("kind: Job\nmetadata: {}\n", "f.yaml:1:1: apiVersion: found nothing; expected an API version"),
            ("---\n---\napiVersion: v1\nmetadata: {}\n", "f.yaml:3:1: kind: found nothing; expected a kind"),
            ("apiVersion: v1\nkind: 7\nmetadata: {}\n", "f.yaml:2:1: kind: found 7"),
            ("apiVersion: v1\nkind: Job\n", "metadata: found nothing"),
            ("- a\n", "(document): found [\"a\"]; expected an object"),
            (
                "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {}}\n- {kind: 7}\n",
                "f.yaml:5:3: items[1].apiVersion: found nothing",
            ),
            ("apiVersion: v1\nkind: List\nitems: {}\n", "f.yaml:3:1: items: found {}"),
        ] {
            let error = refused(text.as_bytes());
            assert!(error.contains(message), "{text:?}: {error}");
        }
        assert!(
            refused(b"apiVersion: v1\nkind: \xff\n").starts_with("f.yaml:2:7: found bytes that are no UTF-8")
        );
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let message = refused(&vec![b'#'; LARGEST + 1]);
        assert!(message.starts_with("f.yaml: found more than 32 MiB"), "{message}");
    }

    #[test]
    fn what_is_no_yaml_is_reported_with_line_and_column() {
        let first = named("a");
        for (text, line) in [
            (format!("{first}---\napiVersion: v1\nkind: [Job\n"), "f.yaml:6:7: "),
            (format!("{first}---\na: 1\n\tb: 2\n"), "f.yaml:5:4: "),
            (format!("{first}---\na: .inf\n"), "f.yaml:5:4: "),
            (format!("{first}---\na: 1\n...\nb: 2\n"), "f.yaml:7:1: "),
            ("{\"a\": 1}\n{\"a\": 1,}\n".to_owned(), "f.yaml:1:9: "),
        ] {
            let error = refused(text.as_bytes());
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bomb_of_anchors_and_a_deep_nesting_are_refused() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            let ten = vec![format!("*{of}"); 10].join(", ");
            bomb = format!("{bomb}{name}: &{name} [{ten}]\n");
        }
        assert!(refused(bomb.as_bytes()).contains("aliases that expand to more than 64 MiB"));
        let merged = bomb.replace("[x, x, x, x, x, x, x, x, x, x]", "{x: 1}") + "j: {<<: *i}\n";
        assert!(!refused(merged.as_bytes()).is_empty());
        assert!(refused(b"a: &a [*a]\n").contains("f.yaml:1:8: "));
        assert!(!refused("[".repeat(100_000).as_bytes()).is_empty());
        assert!(!refused("- ".repeat(100_000).as_bytes()).is_empty());
        assert!(!refused("{\"a\":".repeat(100_000).as_bytes()).is_empty());
    }

    #[test]
    fn aliases_are_copies_and_merged_mappings_are_fields() {
        let item =
            |number| format!("- {{apiVersion: v1, kind: A, metadata: {{name: a{number}, labels: *l}}}}\n");
        let items = (0..200).map(item).collect::<Vec<_>>().concat();
        let text = format!("l: &l {{team: a}}\napiVersion: v1\nkind: List\nitems:\n{items}");
        let found = documents(&text, Origin::Named);
        assert_eq!(found.documents.len(), 200);
        assert_eq!(found.documents[199].object["metadata"]["labels"], serde_json::json!({"team": "a"}));
        let merged = "a: &a {name: x, namespace: z}\napiVersion: v1\nkind: A\nmetadata: {<<: *a, name: w}\n";
        let found = documents(merged, Origin::Named);
        assert_eq!(found.documents[0].object["metadata"], serde_json::json!({"name": "w", "namespace": "z"}));
    }

    #[test]
    fn json_objects_may_follow_one_another_and_typed_lists_name_their_kind_once() {
        assert_eq!(
            names(
                "{\"apiVersion\": \"v1\", \"kind\": \"A\", \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\",\n\"kind\": \"A\", \"metadata\": {\"name\": \"\\ud83d\\ude00\"}} {\"apiVersion\": \"v1\", \"kind\": \"A\", \"metadata\": {\"name\": \"c\"}}\n"
            ),
            [(1, "a".to_owned()), (2, "\u{1f600}".to_owned()), (3, "c".to_owned())]
        );
        let list = "apiVersion: batch/v1\nkind: JobList\nitems:\n- {metadata: {name: a}}\n- {kind: CronJob, apiVersion: batch/v1, metadata: {name: b}}\n";
        let found = documents(list, Origin::Named).documents;
        let kinds: Vec<_> = found.iter().map(|found| (&*found.api_version, &*found.kind)).collect();
        assert_eq!(kinds, [("batch/v1", "Job"), ("batch/v1", "CronJob")]);
        assert_eq!(
            (&found[0].object["kind"], &found[0].object["apiVersion"]),
            (&"Job".into(), &"batch/v1".into())
        );
        let empty = documents("apiVersion: v1\nkind: PodList\nitems: null\n", Origin::Named);
        assert_eq!(empty.passed_over[0].reason, "no object in it");
    }

    #[test]
    fn documents_of_a_folder_that_are_not_for_a_cluster_are_passed_over() {
        for text in [
            "replicas: 2\n",
            "- hosts: all\n",
            "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: a}\n",
            "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n",
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
            "apiVersion: v1\nkind: Config\nclusters: []\n",
        ] {
            let found = documents(&format!("{}---\n{text}", named("a")), Origin::InFolder);
            assert_eq!((found.documents.len(), found.passed_over.len()), (1, 1), "{text}");
            assert_eq!(found.passed_over[0].line, 4);
            assert!(!refused(text.as_bytes()).is_empty(), "{text}");
        }
        for empty in ["", "# nothing\n---\n---\n", "null\n"] {
            let found = documents(empty, Origin::Named);
            assert_eq!((found.documents.len(), found.passed_over.len()), (0, 1), "{empty:?}");
        }
    }

    #[test]
    fn an_object_with_a_mistake_is_not_passed_over() {
        for text in [
            "kind: Job\nmetadata: {name: a}\n",
            "apiVersion: batch/v1\nkind: Job\n",
            "apiVersion: v1\nmetadata: {}\n",
        ] {
            assert!(read("f.yaml", text.as_bytes(), Origin::InFolder).is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_of_another_type_are_a_defect() {
        let found = documents("apiVersion: v1\nkind: Pod\nmetadata: [a]\n", Origin::Named).documents;
        assert_eq!(found[0].defects[0].path, "metadata");
    }

    #[test]
    fn a_repeated_field_is_a_defect_with_its_path() {
        let text = "apiVersion: v1\nkind: A\nmetadata:\n  name: a\n  labels: {a/b: c, a/b: d}\n";
        let found = documents(text, Origin::Named).documents;
        let paths: Vec<_> = found[0].defects.iter().map(|defect| &*defect.path).collect();
        assert_eq!(paths, ["metadata.labels[\"a/b\"]"]);
        assert_eq!(found[0].position(paths[0]).map(|position| position.column), Some(20));
    }
}
