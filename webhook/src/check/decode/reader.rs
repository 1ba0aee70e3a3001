//! A deserializer that collects every field of the wrong type and every unknown field, each with its path.
//!
//! The API server stops at the first field of the wrong type. Here, such a field is noted and read as the zero value of
//! the expected type, so that one pass finds all of them. Only a field that can have several types ends the pass.

use std::cell::RefCell;
use std::fmt;

use codex_k8s_shared::quota::quantity::Quantity;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, Visitor};
use serde_json::{Value, map};

/// A field that an API server would not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Defect {
    /// The path of the field.
    pub(in crate::check) path: String,
    /// The value that was found.
    pub(in crate::check) found: String,
    /// The fix.
    pub(in crate::check) remedy: String,
}

impl Defect {
    /// A field that an object has more than once.
    pub(in crate::check) fn repeated(path: String) -> Self {
        let remedy = "leave it out once: only one of its values can count".to_owned();
        Self { path, found: "more than one".to_owned(), remedy }
    }
}

/// The findings of one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::check) struct Notes {
    /// The fields that an API server would not read.
    pub(in crate::check) defects: Vec<Defect>,
    /// The quantities that an API server writes in another form, by JSON pointer.
    pub(in crate::check) quantities: Vec<(String, String)>,
}

/// Decodes a value into a type.
pub(super) fn decode<T: DeserializeOwned>(value: &Value, path: Path<'_>) -> Notes {
    let notes = RefCell::default();
    let reader = Reader { value, path, notes: &notes };
    if T::deserialize(reader).is_err() && notes.borrow().defects.is_empty() {
        reader.note("must be an object of this kind");
    }
    notes.into_inner()
}

/// A path, from its end.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    /// A field of a type.
    Field(&'p Path<'p>, &'p str),
    /// A key of a map.
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// Returns it as a JSON pointer.
    fn pointer(&self) -> String {
        let step = |parent: &Path<'_>, key: &str| {
            format!("{}/{}", parent.pointer(), key.replace('~', "~0").replace('/', "~1"))
        };
        match self {
            Self::Root => String::new(),
            Self::Field(parent, key) | Self::Key(parent, key) => step(parent, key),
            Self::Index(parent, index) => step(parent, &index.to_string()),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Path::Root, field) => out.write_str(field),
            Self::Field(parent, field) => write!(out, "{parent}.{field}"),
            Self::Key(parent, key) => write!(out, "{parent}[\"{}\"]", key.escape_debug()),
            Self::Index(parent, index) => write!(out, "{parent}[{index}]"),
        }
    }
}

/// A value to decode.
#[derive(Clone, Copy)]
struct Reader<'r> {
    value: &'r Value,
    path: Path<'r>,
    notes: &'r RefCell<Notes>,
}

impl<'r> Reader<'r> {
    fn defect(&self, remedy: &str) -> Defect {
        let found = match self.value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            scalar => scalar.to_string().chars().take(LONGEST).collect(),
        };
        Defect { path: self.path.to_string(), found, remedy: remedy.to_owned() }
    }

    fn note(&self, remedy: &str) {
        let defect = self.defect(remedy);
        self.notes.borrow_mut().defects.push(defect);
    }

    fn count(&self) -> usize {
        self.notes.borrow().defects.len()
    }

    /// Notes the result of a type that reads values by itself, unless one of its fields is noted already.
    fn noted<T>(&self, before: usize, read: Read<T>, remedy: &str) -> Read<T> {
        if read.is_err() && self.count() == before {
            self.note(remedy);
        }
        read
    }

    /// Returns a value; or its default, with a note unless it is null, which the API server reads as absent.
    fn or_default<T: Default>(&self, found: Option<T>, remedy: &str) -> T {
        if found.is_none() && !self.value.is_null() {
            self.note(remedy);
        }
        found.unwrap_or_default()
    }

    fn integer(&self, lowest: i64, highest: i64) -> i64 {
        let is_too_large = self.value.is_u64() || self.value.is_i64();
        let found = self.value.as_i64().filter(|number| (lowest..=highest).contains(number));
        let remedy = match self.value {
            _ if is_too_large => &format!("must be from {lowest} to {highest}"),
            Value::String(_) => "must be an integer, without quotes",
            _ => "must be an integer",
        };
        self.or_default(found, remedy)
    }

    fn text(&self) -> &'r str {
        let remedy = match self.value {
            Value::Number(_) | Value::Bool(_) => "must be a string: put it in quotes",
            _ => "must be a string",
        };
        self.or_default(self.value.as_str(), remedy)
    }

    fn boolean(&self) -> bool {
        let remedy = if self.value.is_string() {
            "must be true or false, without quotes"
        } else {
            "must be true or false"
        };
        self.or_default(self.value.as_bool(), remedy)
    }

    fn number(&self) -> f64 {
        self.or_default(self.value.as_f64(), "must be a number")
    }

    fn fields(&self, is_type: bool) -> Fields<'r> {
        let fields = self.value.as_object();
        self.or_default(fields.map(|_| ()), "must be an object");
        Fields { iter: fields.map(|fields| fields.iter()), next: None, is_type, of: *self }
    }

    fn elements(&self) -> Elements<'r> {
        let elements = self.value.as_array().map(Vec::as_slice);
        Elements { elements: self.or_default(elements, "must be a list").iter().enumerate(), of: *self }
    }

    /// Checks a quantity, which may be a number.
    fn quantity(&self) {
        let text = match self.value {
            Value::Null => return,
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        match text.parse::<Quantity>() {
            Err(_) => self.note("must be a quantity such as 500m or 1Gi"),
            // A quantity with an exponent keeps it.
            Ok(_) if self.value.is_string() && text.contains('e') => {}
            Ok(quantity) => {
                let written = quantity.to_string();
                if self.value.as_str() != Some(&written) {
                    self.notes.borrow_mut().quantities.push((self.path.pointer(), written));
                }
            }
        }
    }

    /// Returns the text of a time, or of another time if it is not one.
    fn time(&self) -> &'r str {
        let text = self.value.as_str().filter(|text| text.parse::<jiff::Timestamp>().is_ok());
        if text.is_none() && !self.value.is_null() {
            self.note("must be a time such as 2026-12-01T09:00:00Z");
        }
        text.unwrap_or(EPOCH)
    }
}

/// The maximum number of characters of a value in a message.
const LONGEST: usize = 80;

/// An error of a type that reads values by itself. Its field is noted already.
#[derive(Debug)]
pub(super) struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value of the wrong type")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Read<T> = Result<T, Stop>;

const EPOCH: &str = "1970-01-01T00:00:00Z";

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Stop;

    /// Reads a value as it is, for types that accept several forms.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let before = self.count();
        let read = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(boolean) => visitor.visit_bool(*boolean),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => visitor.visit_i64(number),
                (None, Some(number)) => visitor.visit_u64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => visitor.visit_seq(self.elements()),
            Value::Object(_) => visitor.visit_map(self.fields(false)),
        };
        // The only type of workloads that accepts several forms is a number or a name, of a port for example.
        self.noted(before, read, "must be an integer or a string")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Read<V::Value> {
        match name {
            "Quantity" => {
                self.quantity();
                visitor.visit_str("0")
            }
            "Time" | "MicroTime" => visitor.visit_newtype_struct(self.time().into_deserializer()),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_map(self.fields(true))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_map(self.fields(false))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(self.elements())
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        // Of the types, only that of base64 reads it so.
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let before = self.count();
        self.noted(before, visitor.visit_str(self.text()), "must be base64")
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_i64(self.integer(i32::MIN.into(), i32::MAX.into()))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_i64(self.integer(i64::MIN, i64::MAX))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_f64(self.number())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_bool(self.boolean())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.note("leave it out or correct its name: it is an unknown field");
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

/// The fields of an object.
struct Fields<'r> {
    iter: Option<map::Iter<'r>>,
    next: Option<(&'r str, &'r Value)>,
    is_type: bool,
    of: Reader<'r>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Read<Option<K::Value>> {
        let next = self.iter.as_mut().and_then(Iterator::next);
        self.next = next.map(|(key, value)| (&**key, value));
        self.next.map(|(key, _)| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Read<V::Value> {
        let (key, value) = self.next.take().ok_or(Stop)?;
        let parent = &self.of.path;
        let path = if self.is_type { Path::Field(parent, key) } else { Path::Key(parent, key) };
        seed.deserialize(Reader { value, path, notes: self.of.notes })
    }
}

/// The elements of a list.
struct Elements<'r> {
    elements: std::iter::Enumerate<std::slice::Iter<'r, Value>>,
    of: Reader<'r>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        let Some((index, value)) = self.elements.next() else { return Ok(None) };
        let path = Path::Index(&self.of.path, index);
        seed.deserialize(Reader { value, path, notes: self.of.notes }).map(Some)
    }
}
