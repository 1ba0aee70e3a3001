//! What is mended of objects, written into the text that they were read from: comments, order, quoting and layout of
//! all else stay.
//!
//! Libraries edit the text, and are not taken at their word: what they made must read as exactly what was to be written,
//! with every comment in its place. What would not is not written.

mod json;
mod wanted;
mod yaml;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::{self, Step};
use super::{Document, Judgement, Verdict};

/// Why the text of an object stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// Parts of the text stand for others.
    #[error("found an anchor, an alias or a merge key in its document; write out what they stand for")]
    Aliased,
    /// The text has a form that cannot be edited.
    #[error(
        "its text cannot be edited in place; write it in the usual form, a field a line, or make the change by hand"
    )]
    Form,
    /// The text would read as something else.
    #[error("what would be written does not read as what was judged; make the change by hand")]
    Misread,
    /// A comment stands at what would go.
    #[error("a comment would be lost; make the change by hand")]
    Comment,
    /// Its file is written as a whole.
    #[error("another object of the same file could not be")]
    Beside,
}

/// Whether what is mended of an object is in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Whether it is.
    pub done: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The text of a file, given all objects of it, with what is mended of those that are admitted. Where nothing is, the text
/// as it is.
///
/// # Errors
/// For each object that is mended, in their order, why that cannot be written: then none is.
pub fn rewritten(objects: &[(&Document, &Judgement)]) -> Result<String, Vec<Unwritten>> {
    let mut text = objects.first().map(|(document, _)| document.source.text.clone()).unwrap_or_default();
    let mut failures = Vec::new();
    // From the last one, so that the places of those before it stay.
    for objects in objects.chunk_by(|(one, _), (next, _)| one.range == next.range).rev() {
        let mended: Vec<_> =
            objects.iter().filter(|(_, judgement)| judgement.result == Verdict::Mended).copied().collect();
        let Some((first, _)) = mended.first() else { continue };
        match rewritten_part(first.source.text.get(first.range.clone()).unwrap_or_default(), &mended) {
            Ok(part) => {
                text.replace_range(first.range.clone(), &part);
                failures.extend(mended.iter().map(|_| None));
            }
            Err(failure) => failures.extend(mended.iter().map(|_| Some(failure))),
        }
    }
    if failures.iter().all(Option::is_none) {
        return Ok(text);
    }
    Err(failures.into_iter().rev().map(|failure| failure.unwrap_or(Unwritten::Beside)).collect())
}

/// The text of one document of a file; several objects stand in it, if it is a list.
fn rewritten_part(text: &str, mended: &[(&Document, &Judgement)]) -> Result<String, Unwritten> {
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).map_err(|_| Unwritten::Misread);
    let old = read(text)?;
    let mut new = old.clone();
    for (document, judgement) in mended {
        let steps = source::steps(document.within.trim_end_matches('.'));
        let object = steps.iter().try_fold(&mut new, step_into).ok_or(Unwritten::Misread)?;
        *object = wanted::of(document, judgement).ok_or(Unwritten::Misread)?;
    }
    let edited =
        if json::is_it(text) { json::edited(text, &old, &new) } else { yaml::edited(text, &old, &new) };
    let edited = match edited {
        Some(edited) if read(&edited).is_ok_and(|edited| edited == new) => edited,
        _ if yaml::is_aliased(text) => return Err(Unwritten::Aliased),
        Some(_) => return Err(Unwritten::Misread),
        None => return Err(Unwritten::Form),
    };
    let is_whole = yaml::comments(text) == yaml::comments(&edited);
    if is_whole { Ok(edited) } else { Err(Unwritten::Comment) }
}

fn step_into<'v>(value: &'v mut Value, step: &Step) -> Option<&'v mut Value> {
    match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    }
}
