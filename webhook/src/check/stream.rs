//! The documents of a text: those of YAML between `---`, and JSON values one after the other.

use std::ops::Range;

use serde_json::Value;

use super::yaml::{self, Node, Problem};

/// A document.
pub(super) struct Part {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// Its tree, for positions. JSON whose strings YAML cannot have does not have one.
    pub(super) node: Option<Node>,
    /// Its value.
    pub(super) value: Value,
}

/// Parses the non-empty documents of a text.
///
/// # Errors
/// [`Problem`]
pub(super) fn parts(text: &str) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    for (line, range) in separated(text) {
        let part = text.get(range.clone()).unwrap_or_default();
        if let Some(values) = json(part, range.start, line)? {
            parts.extend(values);
        } else {
            let node = yaml::parse(part, range.start)?;
            parts.push(Part { line, value: node.value()?, node: Some(node) });
        }
    }
    Ok(parts)
}

/// Parses JSON values. Returns `None` for what does not begin with one: it may be YAML.
fn json(text: &str, offset: usize, line: usize) -> Result<Option<Vec<Part>>, Problem> {
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut start = 0;
    while let Some(next) = stream.next() {
        let end = stream.byte_offset();
        let mut value = match next {
            Ok(value) => value,
            Err(_) if values.is_empty() => return Ok(None),
            Err(error) => return Err(Problem { at: offset + start, text: error.to_string() }),
        };
        yaml::normalize(&mut value);
        let part = text.get(start..end).unwrap_or_default();
        let begins = start + part.len() - part.trim_start().len();
        let line = line + text.get(..begins).unwrap_or_default().matches('\n').count();
        let node = yaml::parse(part, offset + start).ok();
        values.push(Part { line, node, value });
        start = end;
    }
    Ok(Some(values))
}

/// Returns the first line and the byte range of each non-empty document.
fn separated(text: &str) -> Vec<(usize, Range<usize>)> {
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
