//! YAML documents as trees: the values as kubectl reads them, and their positions in the text.

mod scalar;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

/// Maximum nesting depth. Reviews are read with a limit of 128, and an object is nested in its review.
const DEEPEST: usize = 100;
/// Maximum size of the values that aliases copy, in bytes. Without a limit, a document of some lines fills the memory.
const ALIASED: usize = 64 << 20;
/// The size of a value without its text, in bytes.
const OF_A_VALUE: usize = 64;
/// The prefix of the tags of YAML itself.
const TAGS: &str = "tag:yaml.org,2002:";

/// A byte range in the text. There are many of them, and files are smaller than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bytes {
    start: u32,
    end: u32,
}

impl Bytes {
    fn new(range: &Range<usize>) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: offset(range.start), end: offset(range.end) }
    }

    const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value with its position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    span: Bytes,
    /// The content, which aliases share with their anchor.
    pub(super) content: Arc<Content>,
    is_alias: bool,
}

#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// The key as text.
    pub(super) key: Box<str>,
    span: Bytes,
    /// The value.
    pub(super) value: Node,
    /// True for `<<`, whose value is merged into the mapping.
    is_merge: bool,
}

/// The reason why a text is not a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The byte offset in the text.
    pub(super) at: usize,
    /// The problem.
    pub(super) text: String,
}

impl Problem {
    fn expected(at: usize, expected: &str) -> Self {
        Self { at, text: format!("expected {expected}") }
    }
}

/// Parses a document. `offset` is that of its text in the file.
///
/// # Errors
/// [`Problem`]
pub(super) fn parse(text: &str, offset: usize) -> Result<Node, Problem> {
    // Like the parser of kubectl.
    let options = granit_parser::options! { block_scalar_eof_without_line_feed: true };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { parser, anchors: HashMap::new(), offset, end: offset + text.len() };
    let event = builder.node()?;
    let document = builder.build(event, 0)?;
    match builder.node() {
        Ok((_, range)) => Err(Problem::expected(range.start, "--- before another document")),
        Err(Problem { text, .. }) if text == END => Ok(document),
        Err(problem) => Err(problem),
    }
}

const END: &str = "unexpected end of the document";

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Arc<Content>>,
    offset: usize,
    end: usize,
}

type Begun<'t> = (Event<'t>, Range<usize>);

impl<'t> Builder<'t> {
    /// Returns the next event that begins a node or ends a collection.
    fn node(&mut self) -> Result<Begun<'t>, Problem> {
        while let Some(next) = self.parser.next_event() {
            let (event, span) = next.map_err(|error| self.problem(&error))?;
            let ends = matches!(event, Event::MappingEnd | Event::SequenceEnd);
            if event.is_node() || ends {
                return Ok((event, self.range(span)));
            }
        }
        Err(Problem { at: self.end, text: END.to_owned() })
    }

    fn problem(&self, error: &granit_parser::ScanError) -> Problem {
        let at = error.marker().byte_offset().map_or(self.end, |at| self.offset + at);
        Problem { at, text: error.info() }
    }

    fn range(&self, span: Span) -> Range<usize> {
        let range = span.byte_range().unwrap_or_default();
        self.offset + range.start..self.offset + range.end
    }

    fn build(&mut self, (event, range): Begun<'t>, depth: usize) -> Result<Node, Problem> {
        if depth > DEEPEST {
            return Err(Problem { at: range.start, text: format!("nested in more than {DEEPEST} levels") });
        }
        let at = range.start;
        let (anchor, content) = match event {
            Event::Alias(id) => {
                let content = self.anchors.get(&id).cloned();
                let content = content.ok_or_else(|| Problem::expected(at, "no alias in its own anchor"))?;
                return Ok(Node { span: Bytes::new(&range), content, is_alias: true });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = value_of(&text, style, tag.as_deref());
                (anchor, Content::Scalar(value.map_err(|expected| Problem::expected(at, expected))?))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.map(depth)?),
            _ => return Err(Problem::expected(at, "a value")),
        };
        let content = Arc::new(content);
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&content));
        }
        Ok(Node { span: Bytes::new(&range), content, is_alias: false })
    }

    fn list(&mut self, depth: usize) -> Result<Content, Problem> {
        let mut elements = Vec::new();
        loop {
            let begun = self.node()?;
            if begun.0 == Event::SequenceEnd {
                return Ok(Content::List(elements));
            }
            elements.push(self.build(begun, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Problem> {
        let mut entries = Vec::new();
        loop {
            let begun = self.node()?;
            if begun.0 == Event::MappingEnd {
                return Ok(Content::Map(entries));
            }
            let is_merge = matches!(&begun.0, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let Node { span, content, .. } = self.build(begun, depth + 1)?;
            let key = match &*content {
                Content::Scalar(value) => scalar::key(value),
                Content::List(_) | Content::Map(_) => Err("a text as the key"),
            };
            let key = key.map_err(|expected| Problem::expected(span.range().start, expected))?;
            let begun = self.node()?;
            let value = self.build(begun, depth + 1)?;
            entries.push(Entry { key: key.into(), span, value, is_merge });
        }
    }
}

fn value_of(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, &'static str> {
    match tag.map(|tag| tag.suffix_in_namespace(TAGS)) {
        Some(Some(tag)) => scalar::tagged(&tag, text),
        None if style == ScalarStyle::Plain => scalar::plain(text),
        None | Some(None) => Ok(text.into()),
    }
}

/// Replaces the floats of a JSON document that are integers, as kubectl sends them.
pub(super) fn normalize(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(same) = number.as_f64().and_then(scalar::float) {
                *value = same;
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(normalize),
        Value::Object(fields) => fields.values_mut().for_each(normalize),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Entry {
    /// Returns the byte range of the key.
    pub(super) const fn range(&self) -> Range<usize> {
        self.span.range()
    }
}

impl Node {
    /// Returns the byte range in the text.
    pub(super) const fn range(&self) -> Range<usize> {
        self.span.range()
    }

    /// Returns the value of a field of a mapping; of repeated ones, the last.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        match &*self.content {
            Content::Map(entries) => {
                entries.iter().rfind(|entry| *entry.key == *key).map(|entry| &entry.value)
            }
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// Returns an element of a list.
    pub(super) fn element(&self, index: usize) -> Option<&Self> {
        match &*self.content {
            Content::List(elements) => elements.get(index),
            Content::Scalar(_) | Content::Map(_) => None,
        }
    }

    /// Returns the value.
    ///
    /// # Errors
    /// If aliases would copy too much, or merge what is not a mapping.
    pub(super) fn value(&self) -> Result<Value, Problem> {
        Copier { left: ALIASED }.value(self, false)
    }

    /// Returns the paths of the fields that a mapping in it has more than once. Aliases are not followed.
    pub(super) fn repeated(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_repeated("", &mut found);
        found
    }

    fn collect_repeated(&self, path: &str, found: &mut Vec<String>) {
        match &*self.content {
            Content::List(elements) if !self.is_alias => {
                for (index, element) in elements.iter().enumerate() {
                    element.collect_repeated(&format!("{path}[{index}]"), found);
                }
            }
            Content::Map(entries) if !self.is_alias => {
                let mut keys = HashSet::new();
                for entry in entries {
                    let path = path_of(path, &entry.key);
                    entry.value.collect_repeated(&path, found);
                    if !entry.is_merge && !keys.insert(&*entry.key) {
                        found.push(path);
                    }
                }
            }
            Content::Scalar(_) | Content::List(_) | Content::Map(_) => {}
        }
    }
}

/// Returns the path of a field in an object at a path, in the form that rules use.
fn path_of(parent: &str, key: &str) -> String {
    let is_plain =
        key.starts_with(|first: char| first.is_alphabetic()) && key.chars().all(char::is_alphanumeric);
    match (is_plain, parent.is_empty()) {
        (false, _) => format!("{parent}[\"{}\"]", key.escape_debug()),
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
    }
}

/// Copies trees to values, within a limit on what aliases copy.
struct Copier {
    left: usize,
}

impl Copier {
    fn value(&mut self, node: &Node, is_copy: bool) -> Result<Value, Problem> {
        let is_copy = is_copy || node.is_alias;
        if is_copy {
            self.spend(node)?;
        }
        Ok(match &*node.content {
            Content::Scalar(value) => value.clone(),
            Content::List(elements) => {
                elements.iter().map(|element| self.value(element, is_copy)).collect::<Result<_, _>>()?
            }
            Content::Map(entries) => {
                let mut fields = Map::new();
                self.fill(&mut fields, entries, is_copy)?;
                Value::Object(fields)
            }
        })
    }

    fn spend(&mut self, node: &Node) -> Result<(), Problem> {
        let text = match &*node.content {
            Content::Scalar(value) => value.as_str().map_or(0, str::len),
            Content::List(_) => 0,
            Content::Map(entries) => entries.iter().map(|entry| entry.key.len()).sum(),
        };
        let left = self.left.checked_sub(OF_A_VALUE + text);
        let too_much = || format!("aliases that expand to more than {} MiB", ALIASED >> 20);
        self.left = left.ok_or_else(|| Problem { at: node.range().start, text: too_much() })?;
        Ok(())
    }

    /// Adds the fields in their order. Like kubectl, a later one replaces an earlier one, also in a merge.
    fn fill(
        &mut self,
        fields: &mut Map<String, Value>,
        entries: &[Entry],
        is_copy: bool,
    ) -> Result<(), Problem> {
        for entry in entries {
            if entry.is_merge {
                self.merge(fields, &entry.value, is_copy)?;
            } else {
                fields.insert(entry.key.to_string(), self.value(&entry.value, is_copy)?);
            }
        }
        Ok(())
    }

    fn merge(
        &mut self,
        fields: &mut Map<String, Value>,
        merged: &Node,
        is_copy: bool,
    ) -> Result<(), Problem> {
        let is_copy = is_copy || merged.is_alias;
        if is_copy {
            self.spend(merged)?;
        }
        match &*merged.content {
            Content::Map(entries) => self.fill(fields, entries, is_copy),
            // The first of them has priority.
            Content::List(maps) => maps.iter().rev().try_for_each(|map| match &*map.content {
                Content::Map(_) => self.merge(fields, map, is_copy),
                Content::Scalar(_) | Content::List(_) => Err(Problem::expected(map.range().start, MERGED)),
            }),
            Content::Scalar(_) => Err(Problem::expected(merged.range().start, MERGED)),
        }
    }
}

const MERGED: &str = "a mapping, or a list of mappings, to merge";
