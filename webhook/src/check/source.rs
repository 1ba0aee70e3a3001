//! Positions of an object's fields in the text of its file.

use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, Span};

/// The text of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file; `-` for standard input.
    pub file: String,
    /// The text.
    pub text: String,
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
        let before = source.text.get(..range.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Self { source: Arc::clone(source), range, line, column }
    }

    /// Returns the column after its end, from 1.
    pub fn end_column(&self) -> usize {
        self.column + self.source.text.get(self.range.clone()).unwrap_or_default().chars().count()
    }
}

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of an object.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// Parses a path in the form that rules use: `spec.containers[0].image`, `metadata.labels["a/b"]`.
pub(crate) fn steps(path: &str) -> Vec<Step> {
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

/// Returns the position of a field in the document in a range of a text. If there is no such field, returns that of the
/// nearest parent. The position of an object's field is its key, with its value if that is on the same line.
pub(crate) fn locate(source: &Arc<Source>, document: &Range<usize>, path: &[Step]) -> Option<Position> {
    let text = source.text.get(document.clone())?;
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let first = reader.next_node()?;
    let found = reader.follow(first, None, path)?;
    let found = within_a_line(text, found);
    Some(Position::new(source, document.start + found.start..document.start + found.end))
}

/// Returns the part of a range on its first line. The start of a block has no width of its own: it gets the rest of the
/// line.
fn within_a_line(text: &str, range: Range<usize>) -> Range<usize> {
    let end = if range.is_empty() { text.len() } else { range.end };
    let found = text.get(range.start..end).unwrap_or_default();
    let first = found.split('\n').next().unwrap_or_default().trim_end();
    range.start..range.start + first.len()
}

struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
}

impl<'t> Reader<'t> {
    /// Returns the next event that begins a node or ends a collection.
    fn next_node(&mut self) -> Option<(Event<'t>, Span)> {
        loop {
            let (event, span) = self.parser.next_event()?.ok()?;
            let ends = matches!(event, Event::MappingEnd | Event::SequenceEnd);
            if event.is_node() || ends {
                return Some((event, span));
            }
        }
    }

    /// Returns the range of the node at the path; `key` is the range of the current node's key.
    fn follow(
        &mut self,
        (event, span): (Event<'t>, Span),
        key: Option<&Range<usize>>,
        path: &[Step],
    ) -> Option<Range<usize>> {
        let own = span.byte_range()?;
        let here = match key {
            Some(key) if own.start >= key.end && matches!(event, Event::Scalar(..)) => key.start..own.end,
            Some(key) => key.clone(),
            None => own,
        };
        let Some((step, rest)) = path.split_first() else { return Some(here) };
        let inner = match (event, step) {
            (Event::MappingStart(..), Step::Key(target)) => self.in_mapping(target, rest),
            (Event::SequenceStart(..), Step::Index(target)) => self.in_sequence(*target, rest),
            _ => None,
        };
        Some(inner.unwrap_or(here))
    }

    fn in_mapping(&mut self, target: &str, rest: &[Step]) -> Option<Range<usize>> {
        loop {
            let (key, span) = self.next_node()?;
            if key == Event::MappingEnd {
                return None;
            }
            let is_it = key.scalar().is_some_and(|(text, _)| text == target);
            self.skip(&key)?;
            let value = self.next_node()?;
            if is_it {
                return self.follow(value, span.byte_range().as_ref(), rest);
            }
            self.skip(&value.0)?;
        }
    }

    fn in_sequence(&mut self, target: usize, rest: &[Step]) -> Option<Range<usize>> {
        for _ in 0..target {
            let (element, _) = self.next_node()?;
            if element == Event::SequenceEnd {
                return None;
            }
            self.skip(&element)?;
        }
        let element = self.next_node().filter(|(event, _)| *event != Event::SequenceEnd)?;
        self.follow(element, None, rest)
    }

    /// Skips the rest of a node that has just begun.
    fn skip(&mut self, begun: &Event<'t>) -> Option<()> {
        let begins = |event: &Event<'_>| matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        let mut depth = usize::from(begins(begun));
        while depth > 0 {
            let (event, _) = self.next_node()?;
            if begins(&event) {
                depth += 1;
            } else if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
                depth -= 1;
            }
        }
        Some(())
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
        let source = Arc::new(Source { file: "f".to_owned(), text: text.to_owned() });
        let position = locate(&source, &(0..text.len()), &steps(path)).unwrap();
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
