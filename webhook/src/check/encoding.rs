//! The encodings of files: UTF-8, and UTF-16 with a byte order mark, as kubectl reads them.

use std::borrow::Cow;
use std::str;

/// The reason why bytes are not text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotText {
    /// The valid bytes before the others.
    pub(super) valid: usize,
    /// The encoding that was found.
    pub(super) found: &'static str,
}

const fn not_text(found: &'static str) -> NotText {
    NotText { valid: 0, found }
}

/// Decodes a file, without its byte order mark.
///
/// # Errors
/// [`NotText`]
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, NotText> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(not_text("UTF-32")),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        // Manifests begin with an ASCII character.
        [0, 1..=127, ..] | [1..=127, 0, ..] => Err(not_text("UTF-16 without a byte order mark")),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf_8(rest),
        _ => utf_8(bytes),
    }
}

fn utf_8(bytes: &[u8]) -> Result<Cow<'_, str>, NotText> {
    let text = str::from_utf8(bytes);
    text.map(Cow::Borrowed)
        .map_err(|error| NotText { valid: error.valid_up_to(), found: "bytes that are no UTF-8" })
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, NotText> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
    match (text, rest) {
        (Ok(text), []) => Ok(Cow::Owned(text)),
        _ => Err(not_text("bytes that are no UTF-16 after its byte order mark")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn utf_8_and_both_forms_of_utf_16_are_read_without_their_mark() {
        let text = "é: \u{1f600}\n";
        assert_eq!(decode(text.as_bytes()).unwrap(), text);
        for marked in [
            [&b"\xef\xbb\xbf"[..], text.as_bytes()].concat(),
            encoded(&format!("\u{feff}{text}"), u16::to_le_bytes),
            encoded(&format!("\u{feff}{text}"), u16::to_be_bytes),
        ] {
            assert_eq!(decode(&marked).unwrap(), text);
        }
    }

    #[test]
    fn other_encodings_are_named() {
        for (bytes, found) in [
            (encoded("kind", u16::to_le_bytes), "UTF-16 without a byte order mark"),
            (encoded("kind", u16::to_be_bytes), "UTF-16 without a byte order mark"),
            (b"\xff\xfe\0\0k\0\0\0".to_vec(), "UTF-32"),
            (b"\xff\xfek\0i".to_vec(), "bytes that are no UTF-16 after its byte order mark"),
            (b"caf\xe9".to_vec(), "bytes that are no UTF-8"),
        ] {
            assert_eq!(decode(&bytes).unwrap_err().found, found);
        }
    }
}
