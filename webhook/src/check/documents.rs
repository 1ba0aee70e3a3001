//! Kubernetes objects in files: YAML or JSON, several per file; `List` kinds are unfolded.

use std::ops::Range;
use std::str;
use std::sync::Arc;

use serde_json::Value;

use super::source::{self, Position, Source};

/// Maximum nesting depth of `List` kinds.
const DEEPEST: usize = 8;

/// An object with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The text that contains it.
    pub source: Arc<Source>,
    /// The byte range of its document.
    range: Range<usize>,
    /// The first line of its document, from 1.
    pub line: usize,
    /// The path of the object in its document, with a trailing dot; empty if it is the whole document.
    within: String,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The object.
    pub object: Value,
}

/// Maximum file size in bytes: enough for about 30,000 objects. A larger file is probably the wrong one.
pub const LARGEST: usize = 32 << 20;

/// The reason why a file has no objects to evaluate.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that are not text.
    #[error("{file}:{line}:{column}: found bytes that are no UTF-8; expected YAML or JSON")]
    NotText {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The column in characters.
        column: usize,
    },
    /// A file that is too large.
    #[error("{file}: found more than {} MiB; expected objects for a cluster: give them in several files", LARGEST >> 20)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// Text that is not YAML.
    #[error("{file}: found what is neither YAML nor JSON")]
    Syntax {
        /// The file.
        file: String,
        /// The cause, with line and column.
        #[source]
        source: Box<serde_saphyr::Error>,
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
    /// A file without any object.
    #[error("{file}: found no object; expected Kubernetes objects in YAML or JSON")]
    Empty {
        /// The file.
        file: String,
    },
}

impl Document {
    /// Creates an object that is not from a file.
    pub fn of_nowhere(object: Value) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let source = Arc::new(Source { file: String::new(), text: String::new() });
        Self { source, range: 0..0, line: 0, within: String::new(), api_version, kind, object }
    }

    /// Returns the file; `-` for standard input.
    pub(crate) fn file(&self) -> &str {
        &self.source.file
    }

    /// Returns the position of a field, whose path is in the form that rules use; that of its nearest parent if it is
    /// missing.
    pub fn position(&self, path: &str) -> Option<Position> {
        source::locate(&self.source, &self.range, &source::steps(&format!("{}{path}", self.within)))
    }

    /// Returns the API group; empty for the core group.
    pub(crate) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
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

/// Parses the objects of a file in their order.
///
/// # Errors
/// [`ReadError`], which names file and line, the value that was found and the expected one.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Document>, ReadError> {
    if bytes.len() > LARGEST {
        return Err(ReadError::TooLarge { file: file.to_owned() });
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        ReadError::NotText { file: file.to_owned(), line, column }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Source { file: file.to_owned(), text: text.to_owned() });
    let mut reader = Reader { source: &source, line: 1, range: 0..0, documents: Vec::new() };
    for (line, range) in parts(text) {
        let part = text.get(range.clone()).unwrap_or_default();
        let value =
            serde_saphyr::from_str::<Value>(part).map_err(|source| syntax(file, line, part, source))?;
        (reader.line, reader.range) = (line, range);
        reader.unfold(value, String::new(), 0)?;
    }
    let documents = reader.documents;
    if documents.is_empty() { Err(ReadError::Empty { file: file.to_owned() }) } else { Ok(documents) }
}

/// Corrects the line: the parser counts from the beginning of its input.
fn syntax(file: &str, line: usize, part: &str, found: serde_saphyr::Error) -> ReadError {
    let padded = format!("{}{part}", "\n".repeat(line - 1));
    let source = serde_saphyr::from_str::<Value>(&padded).err().unwrap_or(found);
    ReadError::Syntax { file: file.to_owned(), source: Box::new(source) }
}

/// Returns the non-empty documents of a stream: the first line and the byte range of each.
fn parts(text: &str) -> Vec<(usize, Range<usize>)> {
    let mut parts = vec![(1, 0..text.len())];
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            if let Some((_, part)) = parts.last_mut() {
                part.end = offset;
            }
            parts.push((index + 1, offset + "---".len()..text.len()));
        }
        offset += line.len();
    }
    let says_something = |part: &str| {
        part.lines()
            .map(str::trim)
            .any(|line| !line.is_empty() && !line.starts_with(['#', '%']) && line != "...")
    };
    parts.retain(|(_, range)| text.get(range.clone()).is_some_and(says_something));
    parts
}

struct Reader<'s> {
    source: &'s Arc<Source>,
    line: usize,
    range: Range<usize>,
    documents: Vec<Document>,
}

impl Reader<'_> {
    /// Returns an error about a field of the object at a path, or about the object itself if the field is empty.
    fn form(&self, within: &str, field: &'static str, found: &Value, expected: &'static str) -> ReadError {
        let (file, found) = (self.source.file.clone(), shown(found));
        let path = format!("{within}{field}");
        let steps = source::steps(path.trim_end_matches('.'));
        let position = source::locate(self.source, &self.range, &steps);
        let (line, column) = position.map_or((self.line, 1), |position| (position.line, position.column));
        let field = if path.is_empty() { "(document)".to_owned() } else { path };
        ReadError::Form { file, line, column, field, found, expected }
    }

    /// Adds an object, or each object of a list.
    fn unfold(&mut self, value: Value, within: String, depth: usize) -> Result<(), ReadError> {
        let Value::Object(mut fields) = value else {
            return if value.is_null() { Ok(()) } else { Err(self.form(&within, "", &value, "an object")) };
        };
        let nothing = Value::Null;
        let text = |key: &'static str, expected| {
            let found = fields.get(key).unwrap_or(&nothing);
            let text = found.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            text.ok_or_else(|| self.form(&within, key, found, expected))
        };
        let api_version = text("apiVersion", "an API version, such as v1 or batch/v1")?;
        let kind = text("kind", "a kind, such as Namespace or Job")?;
        if kind.ends_with("List")
            && let Some(items) = fields.remove("items")
        {
            let Value::Array(items) = items else {
                return Err(self.form(&within, "items", &items, "a list of objects"));
            };
            if depth == DEEPEST {
                return Err(self.form(
                    &within,
                    "items",
                    &nothing,
                    "lists that do not stand in each other so deep",
                ));
            }
            return items.into_iter().enumerate().try_for_each(|(index, item)| {
                self.unfold(item, format!("{within}items[{index}]."), depth + 1)
            });
        }
        match fields.get("metadata") {
            Some(Value::Object(_)) => {}
            found => {
                return Err(self.form(
                    &within,
                    "metadata",
                    found.unwrap_or(&nothing),
                    "an object with a name",
                ));
            }
        }
        let (source, range) = (Arc::clone(self.source), self.range.clone());
        self.documents.push(Document {
            source,
            range,
            line: self.line,
            within,
            api_version,
            kind,
            object: Value::Object(fields),
        });
        Ok(())
    }
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
    fn what_is_no_object_is_reported_with_its_line_and_what_was_expected() {
        for (text, message) in [
            ("", "f.yaml: found no object"),
            ("# nothing\n---\n---\n", "f.yaml: found no object"),
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
        assert!(refused(&vec![b'#'; LARGEST]).starts_with("f.yaml: found no object"));
    }

    #[test]
    fn what_is_no_yaml_is_reported_with_line_and_column() {
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
