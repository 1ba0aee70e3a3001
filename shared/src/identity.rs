//! The identifiers of a run in the contract, as newtypes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sanitize::{UNKNOWN, sanitize_label};

/// A text that is not an issue number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no issue number; expected a decimal number above 0 without leading zeros, such as 42")]
pub struct IssueNumberError {
    found: String,
}

/// The number of an issue: above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IssueNumber(i64);

impl IssueNumber {
    /// The issue number, if it is above 0. The platform writes 0 for "no issue".
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for IssueNumber {
    type Err = IssueNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| canonical).and_then(Self::new);
        number.ok_or_else(|| IssueNumberError { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for IssueNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The identifier as it is in the platform's database.
            pub fn new(raw: impl Into<String>) -> Self {
                Self(raw.into())
            }

            /// The identifier, unchanged.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The identifier as a label of a Namespace; an empty one becomes `unknown`.
            pub fn label(&self) -> String {
                sanitize_label(&self.0).into_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// The id of a run: a UUID in the platform, any text here.
    RunId
);
identifier!(
    /// The id of a project.
    ProjectId
);
identifier!(
    /// The key of an agent's role, such as `dev`. Release B omits its label if it would be `unknown`.
    AgentKey
);

impl AgentKey {
    /// The label, if one must be written.
    pub fn optional_label(&self) -> Option<String> {
        Some(sanitize_label(self.as_str().trim()).into_owned()).filter(|label| label != UNKNOWN)
    }
}

/// Returns true for a UUID in the form that PostgreSQL prints and that a label holds.
pub fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_as_it_is_printed_is_requested_for() {
        assert!(is_uuid("3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"));
        for none in [
            "",
            "unknown",
            "3f2b8c1e9d474a06b5e27c81d0f4a913",
            "3F2B8C1E-9D47-4A06-B5E2-7C81D0F4A913",
            "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913-",
            "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a91g",
            "3f2b8c1e-9d47-4a06-b5e27-c81d0f4a913",
        ] {
            assert!(!is_uuid(none), "{none}");
        }
    }

    #[test]
    fn an_issue_number_is_decimal_and_above_zero() {
        assert_eq!("42".parse::<IssueNumber>().unwrap().to_string(), "42");
        assert_eq!(IssueNumber::new(i64::MAX).unwrap().get(), i64::MAX);
        for text in
            ["", "0", "-1", "+1", "042", "4 2", "4.0", "9223372036854775808", "\u{664}\u{662}", "0x2a"]
        {
            let message = text.parse::<IssueNumber>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{text:?} is no issue number")), "{message}");
        }
    }

    #[test]
    fn an_agent_without_a_usable_key_gets_no_label() {
        assert_eq!(AgentKey::new("Dev_Ops").optional_label().as_deref(), Some("dev-ops"));
        assert_eq!(AgentKey::new(" ").optional_label(), None);
        assert_eq!(RunId::new("").label(), "unknown");
    }
}
