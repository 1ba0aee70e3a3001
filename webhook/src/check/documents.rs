//! Kubernetes objects in files: YAML or JSON, several in one, `List` kinds unfolded.

use std::str;

use serde_json::Value;

/// `List` kinds may stand in each other so deep.
const DEEPEST: usize = 8;

/// An object, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file; `-` for standard input.
    pub file: String,
    /// The line that its document begins at, from 1.
    pub line: usize,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// It.
    pub object: Value,
}

/// Why a file holds no objects that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that are no text.
    #[error("{file}:{line}: found bytes that are no UTF-8; expected YAML or JSON")]
    NotText {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
    /// Text that is no YAML.
    #[error("{file}: found what is neither YAML nor JSON")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// YAML that is no Kubernetes object.
    #[error("{file}:{line}: {field}: found {found}; expected {expected}")]
    Form {
        /// The file.
        file: String,
        /// The line that the document begins at.
        line: usize,
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What an object has there.
        expected: &'static str,
    },
    /// Nothing at all.
    #[error("{file}: found no object; expected Kubernetes objects in YAML or JSON")]
    Empty {
        /// The file.
        file: String,
    },
}

impl Document {
    /// An object that stands in no file.
    pub fn of_nowhere(object: Value) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        Self { file: String::new(), line: 0, api_version, kind, object }
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version of the API group.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// Its name; empty if it is still to be generated.
    pub fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The objects of a file, in their order.
///
/// # Errors
/// [`ReadError`], which names file and line, what was found and what was expected.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Document>, ReadError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        ReadError::NotText { file: file.to_owned(), line }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (line, part) in parts(text) {
        // Lines before it, so that an error tells the line of the file.
        let padded = format!("{}{part}", "\n".repeat(line - 1));
        let value = serde_saphyr::from_str::<Value>(&padded).map_err(|source| {
            let source = Box::new(source);
            ReadError::Syntax { file: file.to_owned(), source }
        })?;
        unfold(file, line, value, 0, &mut documents)?;
    }
    if documents.is_empty() { Err(ReadError::Empty { file: file.to_owned() }) } else { Ok(documents) }
}

/// The documents of a stream that hold anything, each with the line that it begins at.
fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let rest = line.strip_prefix("---");
        match rest.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            Some(rest) => parts.push((index + 1, format!("{rest}\n"))),
            None => {
                if let Some((_, part)) = parts.last_mut() {
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
    }
    let says_something = |part: &str| {
        part.lines()
            .map(str::trim)
            .any(|line| !line.is_empty() && !line.starts_with(['#', '%']) && line != "...")
    };
    parts.retain(|(_, part)| says_something(part));
    parts
}

fn unfold(
    file: &str,
    line: usize,
    value: Value,
    depth: usize,
    documents: &mut Vec<Document>,
) -> Result<(), ReadError> {
    let form = |field, found: &Value, expected| ReadError::Form {
        file: file.to_owned(),
        line,
        field,
        found: shown(found),
        expected,
    };
    let Value::Object(fields) = &value else {
        return if value.is_null() { Ok(()) } else { Err(form("(document)", &value, "an object")) };
    };
    let nothing = Value::Null;
    let text = |key: &'static str, expected| {
        let found = fields.get(key).unwrap_or(&nothing);
        found
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| form(key, found, expected))
    };
    let api_version = text("apiVersion", "an API version, such as v1 or batch/v1")?;
    let kind = text("kind", "a kind, such as Namespace or Job")?;
    if let Some(items) = fields.get("items").filter(|_| kind.ends_with("List")) {
        let Value::Array(items) = items else { return Err(form("items", items, "a list of objects")) };
        if depth == DEEPEST {
            return Err(form("items", &nothing, "lists that do not stand in each other so deep"));
        }
        return items.iter().try_for_each(|item| unfold(file, line, item.clone(), depth + 1, documents));
    }
    match fields.get("metadata") {
        Some(Value::Object(_)) => {}
        found => return Err(form("metadata", found.unwrap_or(&nothing), "an object with a name")),
    }
    documents.push(Document { file: file.to_owned(), line, api_version, kind, object: value });
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => other.to_string().chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(usize, String)> {
        let documents = read("f.yaml", text.as_bytes()).unwrap();
        documents.iter().map(|document| (document.line, document.name().to_owned())).collect()
    }

    fn refused(bytes: &[u8]) -> String {
        let error = read("f.yaml", bytes).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
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
        assert!(refused(deep.as_bytes()).contains("do not stand in each other so deep"));
    }

    #[test]
    fn a_comment_that_begins_like_a_marker_and_text_in_a_block_end_no_document() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  key: |\n    ---\n    more\n";
        assert_eq!(names(text).len(), 1);
        let documents = read("f", text.as_bytes()).unwrap();
        assert_eq!(documents[0].object["data"]["key"], "---\nmore\n");
    }

    #[test]
    fn what_is_no_object_is_told_with_its_line_and_what_was_expected() {
        for (text, told) in [
            ("", "f.yaml: found no object"),
            ("# nothing\n---\n---\n", "f.yaml: found no object"),
            ("kind: Job\nmetadata: {}\n", "f.yaml:1: apiVersion: found nothing; expected an API version"),
            ("---\n---\napiVersion: v1\nmetadata: {}\n", "f.yaml:2: kind: found nothing; expected a kind"),
            ("apiVersion: v1\nkind: 7\nmetadata: {}\n", "kind: found 7"),
            ("apiVersion: v1\nkind: Job\n", "metadata: found nothing"),
            ("- a\n", "(document): found [\"a\"]; expected an object"),
            ("apiVersion: v1\nkind: List\nitems: {}\n", "items: found {}"),
        ] {
            let error = refused(text.as_bytes());
            assert!(error.contains(told), "{text:?}: {error}");
        }
        assert!(
            refused(b"apiVersion: v1\nkind: \xff\n").starts_with("f.yaml:2: found bytes that are no UTF-8")
        );
    }

    #[test]
    fn what_is_no_yaml_is_told_with_line_and_column() {
        let first = named("a");
        for (text, line) in [
            (format!("{first}---\napiVersion: v1\nkind: [Job\n"), "line 6"),
            (format!("{first}---\na: 1\n\tb: 2\n"), "line "),
            (format!("{first}---\na: 1\na: 2\n"), "line 6"),
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
        assert!(!refused(bomb.as_bytes()).is_empty());
        assert!(!refused("[".repeat(100_000).as_bytes()).is_empty());
    }
}
