//! The platform's sanitizers (contract.md, sections 1 and 2), character for character as in its Go code.

use std::borrow::Cow;

/// The value that an empty label value becomes.
pub const UNKNOWN: &str = "unknown";

/// The maximum length of a label value, and of a DNS label, in bytes.
pub const LONGEST: usize = 63;

/// Converts a character to lower case as Go does: always one character. Rust's own mapping of U+0130 yields two.
pub(crate) fn go_lower(character: char) -> char {
    if character == '\u{130}' {
        return 'i';
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

/// Go's `strings.TrimSpace`: it trims Unicode white space, as Rust does.
fn trim(value: &str) -> &str {
    value.trim()
}

/// A label value as the worker writes it on Namespaces: lower case, `_` and every other character replaced by `-`, no
/// `-` at the ends, at most 63 bytes; [`UNKNOWN`] if the result is empty. Consecutive `-` are kept.
pub fn sanitize_label(value: &str) -> Cow<'_, str> {
    if is_label(value) {
        return Cow::Borrowed(value);
    }
    let dashed: String = value
        .chars()
        .map(go_lower)
        .map(|character| if is_allowed(character) { character } else { '-' })
        .collect();
    let trimmed = dashed.trim_matches('-');
    let cut = trimmed.get(..LONGEST).unwrap_or(trimmed).trim_end_matches('-');
    Cow::Owned(if cut.is_empty() { UNKNOWN.to_owned() } else { cut.to_owned() })
}

/// A name as the worker builds it from a prefix: trimmed, lower case, other characters replaced by `-`, consecutive
/// `-` collapsed, none at the ends. **Not cut.**
pub fn sanitize_dns(value: &str) -> String {
    let mut name = String::with_capacity(value.len());
    for character in trim(value).chars().map(go_lower) {
        let character = if is_allowed(character) { character } else { '-' };
        if character != '-' || !name.ends_with('-') {
            name.push(character);
        }
    }
    name.trim_matches('-').to_owned()
}

/// The first `longest` bytes after removing white space, `_`, `-`, `.` and other characters.
pub(crate) fn compact(value: &str, longest: usize) -> String {
    trim(value)
        .chars()
        .map(go_lower)
        .filter(|character| is_allowed(*character) && *character != '-')
        .take(longest)
        .collect()
}

/// Returns true if `raw` sanitizes to `label`, without allocating in the usual case that they are equal.
pub fn label_equals(label: &str, raw: &str) -> bool {
    (label == raw && is_label(raw)) || sanitize_label(raw) == label
}

/// Returns true for a value that [`sanitize_label`] does not change.
pub(crate) fn is_label(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= LONGEST
        && value.bytes().all(|byte| is_allowed(char::from(byte)))
        && !value.starts_with('-')
        && !value.ends_with('-')
}

const fn is_allowed(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_sanitized_as_the_platform_does() {
        for (raw, label) in [
            ("My_Project.v1", "my-project-v1"),
            ("__", "unknown"),
            ("a--b", "a--b"),
            ("proj/42", "proj-42"),
            (" ", "unknown"),
            ("", "unknown"),
            ("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}", "unknown"),
        ] {
            assert_eq!(sanitize_label(raw), label, "{raw:?}");
        }
    }

    #[test]
    fn a_dotted_capital_i_lowers_to_one_character_and_the_kelvin_sign_to_k() {
        assert_eq!(sanitize_label("\u{130}x"), "ix");
        assert_eq!(sanitize_label("\u{212a}x"), "kx");
        assert_eq!(sanitize_dns("a\u{130}b"), "aib");
        assert_eq!(compact("\u{212a}\u{130}", 12), "ki");
    }

    #[test]
    fn a_long_label_is_cut_and_loses_the_dash_at_its_end() {
        let raw = format!("{}-{}", "a".repeat(62), "b".repeat(10));
        assert_eq!(sanitize_label(&raw), "a".repeat(62));
    }

    #[test]
    fn names_are_collapsed_but_not_cut() {
        assert_eq!(sanitize_dns("a--b"), "a-b");
        assert_eq!(sanitize_dns(""), "");
        assert_eq!(sanitize_dns("CoDeX_Issue"), "codex-issue");
        assert_eq!(sanitize_dns(&"a".repeat(100)).len(), 100);
    }

    proptest! {
        #[test]
        fn sanitizing_twice_is_sanitizing_once(raw in ".*") {
            let once = sanitize_label(&raw).into_owned();
            prop_assert_eq!(&*sanitize_label(&once), &once);
            prop_assert!(is_label(&once));
            prop_assert!(label_equals(&once, &raw));
            let dns = sanitize_dns(&raw);
            prop_assert_eq!(sanitize_dns(&dns), dns);
        }

        #[test]
        fn compacting_leaves_letters_and_digits_only(raw in ".*", longest in 0usize..20) {
            let compacted = compact(&raw, longest);
            prop_assert!(compacted.len() <= longest);
            prop_assert!(compacted.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        }
    }
}
