//! A person's hold against cleanup: its end and its reason.

use std::fmt;
use std::str::FromStr;

use crate::lease::LeaseInstant;

/// The value of `codex-k8s.dev/hold`: a time, a blank and a reason, such as `2026-01-31T12:00:00Z looking into the
/// failed migration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The end of the hold.
    pub until: LeaseInstant,
    /// The reason.
    pub why: String,
}

/// An invalid hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no hold; expected a time in UTC, a blank and a reason of 200 characters at most, such as \
     \"2026-01-31T12:00:00Z looking into the failed migration\""
)]
pub struct HoldError {
    found: String,
}

/// The maximum length of the reason, in characters.
const LONGEST: usize = 200;

impl FromStr for Hold {
    type Err = HoldError;

    fn from_str(text: &str) -> Result<Self, HoldError> {
        let read = || {
            let (until, why) = text.split_once(' ')?;
            let why = why.trim();
            let readable =
                !why.is_empty() && why.chars().count() <= LONGEST && !why.contains(char::is_control);
            Some(Self { until: until.parse().ok().filter(|_| readable)?, why: why.to_owned() })
        };
        read().ok_or_else(|| HoldError { found: text.chars().take(80).collect() })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.until, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_a_time_and_a_reason() {
        let hold: Hold = "2026-01-31T12:00:00Z looking into it".parse().unwrap();
        assert_eq!(
            (hold.until.to_string().as_str(), hold.why.as_str()),
            ("2026-01-31T12:00:00Z", "looking into it")
        );
        assert_eq!(hold.to_string().parse(), Ok(hold));
    }

    #[test]
    fn what_names_no_end_or_no_reason_is_no_hold() {
        let long = format!("2026-01-31T12:00:00Z {}", "x".repeat(201));
        for text in [
            "",
            "mine",
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00Z  ",
            "tomorrow please",
            "2026-01-31 please",
            "2026-01-31T12:00:00Z a\nb",
            &long,
        ] {
            assert!(text.parse::<Hold>().unwrap_err().to_string().contains("is no hold"), "{text:?}");
        }
    }
}
