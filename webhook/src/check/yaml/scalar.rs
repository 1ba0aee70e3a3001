//! Values of YAML scalars as kubectl reads them: YAML 1.1, in which `yes` is a boolean and `010` is eight.

use serde_json::{Number, Value};

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];
const NOT_FINITE: [&str; 12] =
    [".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"];

/// Above this, the JSON of a float has no integer that a 64-bit field can hold.
const INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// Returns the value of a scalar without quotes or a tag.
///
/// # Errors
/// The expected value, for a number that JSON does not have.
pub(super) fn plain(text: &str) -> Result<Value, &'static str> {
    if NOT_FINITE.contains(&text) {
        return Err("a finite number");
    }
    let constant = if TRUE.contains(&text) {
        Some(true.into())
    } else if FALSE.contains(&text) {
        Some(false.into())
    } else {
        NULL.contains(&text).then_some(Value::Null)
    };
    Ok(constant.or_else(|| number(text)).unwrap_or_else(|| text.into()))
}

/// Returns the value of a scalar with a tag of YAML itself, such as `int` for `!!int`; others are text.
///
/// # Errors
/// The expected value, if the text is not of that type.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Value, &'static str> {
    let found = plain(text)?;
    match (tag, &found) {
        ("int", Value::Number(number)) if !number.is_f64() => Ok(found),
        ("float", Value::Number(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => Ok(found),
        ("int", _) => Err("an integer, because of its tag"),
        ("float", _) => Err("a number, because of its tag"),
        ("bool", _) => Err("a boolean, because of its tag"),
        ("null", _) => Err("null, because of its tag"),
        _ => Ok(text.into()),
    }
}

/// Returns a key as text. JSON has no other keys, so a number or a boolean becomes the text of its value.
///
/// # Errors
/// The expected value, for a key that has no text.
pub(super) fn key(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(boolean) => Ok(boolean.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a text as the key"),
    }
}

fn number(text: &str) -> Option<Value> {
    let first = text.chars().next()?;
    if !first.is_ascii_digit() && !matches!(first, '+' | '-' | '.') {
        return None;
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| if is_float(&digits) { float(digits.parse().ok()?) } else { None })
}

/// Reads an integer with the prefixes of Go: `0x`, `0o`, `0b`, and `0` for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.split_at_checked(1) {
        Some(("-", digits)) => (true, digits),
        Some(("+", digits)) => (false, digits),
        _ => (false, text),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_digit(base)) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    if negative { 0_i64.checked_sub_unsigned(size).map(Value::from) } else { Some(size.into()) }
}

/// Returns true for `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['-', '+']).unwrap_or(text).to_owned();
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = unsigned(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((&*text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_exponent = |text: &str| !unsigned(text).is_empty() && are_digits(&unsigned(text));
    !(whole.is_empty() && fraction.is_empty())
        && are_digits(whole)
        && are_digits(fraction)
        && exponent.is_none_or(is_exponent)
}

/// Returns a float as the client sends it: `1e5` and `1.0` as integers.
pub(super) fn float(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && (-INTEGERS..INTEGERS).contains(&number) {
        #[expect(clippy::cast_possible_truncation, reason = "it is an integer within the bounds")]
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_1_as_the_client_reads_them() {
        for (text, value) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("n", json!(false)),
            ("~", json!(null)),
            ("010", json!(8)),
            ("0o10", json!(8)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("08", json!(8)),
            ("1_000", json!(1000)),
            ("+7", json!(7)),
            ("1e5", json!(100_000)),
            ("1.0", json!(1)),
            ("-0.0", json!(0)),
            ("1.20", json!(1.2)),
            (".5", json!(0.5)),
            ("5.", json!(5)),
            ("18446744073709551615", json!(u64::MAX)),
            ("2001-12-14", json!("2001-12-14")),
            ("1:30", json!("1:30")),
            ("1e", json!("1e")),
            ("0x", json!("0x")),
            ("--1", json!("--1")),
            (".", json!(".")),
            ("1e999", json!("1e999")),
            ("yEs", json!("yEs")),
            ("busybox", json!("busybox")),
        ] {
            assert_eq!(plain(text), Ok(value), "{text}");
        }
        assert_eq!(plain(".inf"), Err("a finite number"));
    }

    #[test]
    fn a_tag_decides_the_type_or_is_an_error() {
        assert_eq!(tagged("int", "010"), Ok(json!(8)));
        assert_eq!(tagged("str", "8"), Ok(json!("8")));
        assert_eq!(tagged("int", "a"), Err("an integer, because of its tag"));
    }
}
