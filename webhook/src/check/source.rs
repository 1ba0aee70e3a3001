//! Positions of an object's fields in the text of its file.

use std::ops::Range;
use std::sync::Arc;

use super::yaml::{self, Content, Node};

/// The text of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file; `-` for standard input.
    pub file: String,
    text: String,
    /// The byte offsets of the lines.
    lines: Vec<usize>,
    /// True if each character is one byte, which makes columns cheap: JSON can be one line of several MiB.
    is_ascii: bool,
}

impl Source {
    /// Creates a source.
    pub(crate) fn new(file: String, text: String) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = [0].into_iter().chain(ends).collect();
        let is_ascii = text.is_ascii();
        Self { file, text, lines, is_ascii }
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns line and column of a byte offset, both from 1.
    pub(super) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.start_of(line);
        let bytes = offset.saturating_sub(start);
        let characters = || self.text.get(start..offset).unwrap_or_default().chars().count();
        (line, if self.is_ascii { bytes } else { characters() } + 1)
    }

    fn start_of(&self, line: usize) -> usize {
        self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// A range of a file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The text.
    pub source: Arc<Source>,
    /// The range in bytes.
    pub range: Range<usize>,
    /// The line of its start, from 1.
    pub line: usize,
    /// The column of its start in characters, from 1.
    pub column: usize,
}

impl Position {
    fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let (line, column) = source.line_and_column(range.start);
        Self { source: Arc::clone(source), range, line, column }
    }

    /// Returns the line of its start, and the range in bytes in that line.
    pub fn in_line(&self) -> (&str, Range<usize>) {
        let start = self.source.start_of(self.line);
        let line = self.source.text.get(start..).and_then(|rest| rest.split('\n').next()).unwrap_or_default();
        (line, self.range.start - start..self.range.end - start)
    }

    /// Returns the column after its end, from 1.
    pub fn end_column(&self) -> usize {
        self.column + self.source.text.get(self.range.clone()).unwrap_or_default().chars().count()
    }
}

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of an object.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// Parses a path in the form that rules use: `spec.containers[0].image`, `metadata.labels["a/b"]`.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
            (Step::Key(key.replace("\\\"", "\"").replace("\\\\", "\\")), after)
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']').unwrap_or((index, ""));
            (index.parse().map_or_else(|_| Step::Key(index.to_owned()), Step::Index), after)
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            (Step::Key(key.to_owned()), after)
        };
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

/// Returns the position of a field in a document. If there is no such field, returns that of the nearest parent. The
/// position of an object's field is its key, with its value if that is on the same line.
pub(super) fn locate(source: &Arc<Source>, document: &Node, path: &[Step]) -> Position {
    let found = within_a_line(&source.text, follow(document, None, path));
    Position::new(source, found)
}

/// Returns the position of a field in a text that is one document; none if it is not YAML.
pub(crate) fn locate_in_text(source: &Arc<Source>, path: &str) -> Option<Position> {
    let document = yaml::parse(&source.text, 0).ok()?;
    Some(locate(source, &document, &steps(path)))
}

/// Returns the part of a range on its first line. The start of a block has no width of its own: it gets the rest of the
/// line.
fn within_a_line(text: &str, range: Range<usize>) -> Range<usize> {
    let end = if range.is_empty() { text.len() } else { range.end };
    let found = text.get(range.start..end).unwrap_or_default();
    let first = found.split('\n').next().unwrap_or_default().trim_end();
    range.start..range.start + first.len()
}

/// Returns the range of the node at the path; `key` is the range of the current node's key.
fn follow(node: &Node, key: Option<&Range<usize>>, path: &[Step]) -> Range<usize> {
    let is_scalar = matches!(&*node.content, Content::Scalar(_));
    let here = match key {
        Some(key) if is_scalar && node.range().start >= key.end => key.start..node.range().end,
        Some(key) => key.clone(),
        None => node.range(),
    };
    let Some((step, rest)) = path.split_first() else { return here };
    match (&*node.content, step) {
        (Content::Map(entries), Step::Key(target)) => {
            // Of repeated keys, the last one counts.
            let entry = entries.iter().rfind(|entry| *entry.key == **target);
            entry.map_or(here, |entry| follow(&entry.value, Some(&entry.range()), rest))
        }
        (Content::List(elements), Step::Index(target)) => {
            elements.get(*target).map_or(here, |element| follow(element, None, rest))
        }
        _ => here,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
kind: Job
metadata:
  labels: {a/b: c, \"d\": e}
spec:
  containers:
  - name: first
  - name: second
    env:
    - {name: A, value: b}
";

    fn found(text: &str, path: &str) -> String {
        let source = Arc::new(Source::new("f".to_owned(), text.to_owned()));
        let document = yaml::parse(text, 0).unwrap();
        let position = locate(&source, &document, &steps(path));
        format!("{}:{} {}", position.line, position.column, &text[position.range])
    }

    #[test]
    fn a_field_is_found_with_its_value() {
        for (path, expected) in [
            ("kind", "1:1 kind: Job"),
            ("metadata.labels[\"a/b\"]", "3:12 a/b: c"),
            ("metadata.labels[\"d\"]", "3:20 \"d\": e"),
            ("spec.containers[1].name", "7:5 name: second"),
            ("spec.containers[1].env[0].value", "9:17 value: b"),
            ("spec.containers[1].env[0]", "9:7 {"),
            ("spec.containers", "5:3 containers"),
        ] {
            assert_eq!(found(TEXT, path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_found_at_what_would_hold_it() {
        for (path, expected) in [
            ("metadata.annotations[\"x\"]", "2:1 metadata"),
            ("spec.containers[7].image", "5:3 containers"),
            ("spec.containers[0].securityContext.privileged", "6:5 name"),
            ("status", "1:1 kind"),
            ("metadata.labels[0]", "3:3 labels"),
        ] {
            let position = found(TEXT, path);
            assert!(position.starts_with(expected), "{path}: {position}");
        }
    }

    #[test]
    fn json_is_searched_as_well_and_columns_count_characters() {
        let json = "{\"é\": {\"a\": [1, {\"b\": true}]}}";
        assert_eq!(found(json, "é.a[1].b"), "1:18 \"b\": true");
    }

    #[test]
    fn keys_may_hold_what_ends_steps() {
        assert_eq!(
            steps("a.b[\"c.d/e\"][3].f"),
            [
                Step::Key("a".to_owned()),
                Step::Key("b".to_owned()),
                Step::Key("c.d/e".to_owned()),
                Step::Index(3),
                Step::Key("f".to_owned())
            ]
        );
    }
}
