//! Leases: three annotations that limit the lifetime of a run namespace (contract.md, sections 1 and 4).
//!
//! Parsing is strict. The platform itself treats an expiry that it cannot parse as missing and falls back to the
//! namespace's age, so that a typing error can mean "expired". Here, a value that is not exactly in the platform's
//! form is an error, never a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::keys;

/// The maximum length of a text that is parsed.
const LONGEST: usize = 64;

const SECOND: u64 = 1_000_000_000;
const UNITS: [(&str, u64); 8] = [
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// A duration in the form of Go's `Duration.String()`, such as `24h0m0s`: whole nanoseconds, above 0, at most
/// 2^63 - 1 of them (292 years).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

/// A text that is not a valid duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no duration; expected hours, minutes and seconds, such as 24h0m0s or 1h30m")]
pub struct GoDurationError {
    found: String,
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

impl FromStr for GoDuration {
    type Err = GoDurationError;

    /// Parses the output of Go, and what users write in its grammar: each unit once, largest first, no sign.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        nanoseconds(text)
            .filter(|nanos| *nanos > 0 && i64::try_from(*nanos).is_ok())
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .ok_or_else(|| GoDurationError { found: text.chars().take(LONGEST).collect() })
    }
}

fn nanoseconds(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let (mut rest, mut total, mut last_unit) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let end =
            tail.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        let &(_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if unit >= last_unit {
            return None;
        }
        total = total.checked_add(scaled(number, unit)?)?;
        (rest, last_unit) = (tail, unit);
    }
    Some(total)
}

/// A decimal number such as `1.5`, times a unit. A fraction of a nanosecond is truncated, as in Go.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) =
        number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let whole: u64 = whole.parse().ok()?;
    let fraction = match fraction {
        None => 0,
        Some(digits) => {
            let digits = digits.get(..digits.len().min(18))?;
            let scale = 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
            let part = digits.parse::<u128>().ok()?.checked_mul(u128::from(unit))? / scale;
            u64::try_from(part).ok()?
        }
    };
    whole.checked_mul(unit)?.checked_add(fraction)
}

impl fmt::Display for GoDuration {
    /// Prints as Go does: `24h0m0s`, `1m30s`, `1.5s`, `250ms`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let second = u128::from(SECOND);
        if nanos == 0 {
            return out.write_str("0s");
        }
        if nanos < second {
            let (unit, name) = match nanos {
                ..1_000 => (1, "ns"),
                1_000..1_000_000 => (1_000, "\u{b5}s"),
                _ => (1_000_000, "ms"),
            };
            return write!(out, "{}{name}", decimal(nanos, unit));
        }
        let (hours, minutes) = (nanos / second / 3600, nanos / second / 60 % 60);
        if hours > 0 {
            write!(out, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(out, "{minutes}m")?;
        }
        write!(out, "{}s", decimal(nanos % (60 * second), second))
    }
}

fn decimal(value: u128, unit: u128) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{fraction:0width$}").trim_end_matches('0').to_owned()
}

/// A time of a lease: RFC 3339 in UTC with whole seconds, with capital `T` and `Z`, between the years 2000 and 2999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseInstant(Timestamp);

/// A text that is not a time of a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no time of a lease; expected UTC with whole seconds, such as 2026-01-31T12:00:00Z")]
pub struct LeaseInstantError {
    found: String,
}

impl LeaseInstant {
    /// The time, truncated to whole seconds; `None` outside the years 2000 to 2999.
    pub fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        let whole = Timestamp::from_second(timestamp.as_second()).ok()?;
        whole.to_string().parse().ok()
    }

    /// The time.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// The sum of this time and a duration, truncated to whole seconds; `None` outside the years 2000 to 2999.
    pub fn checked_add(self, duration: GoDuration) -> Option<Self> {
        let later = self.0.checked_add(SignedDuration::try_from(duration.0).ok()?).ok()?;
        Self::from_timestamp(later)
    }

    /// The duration from an earlier time to this one; `None` if it is not earlier.
    pub fn since(self, earlier: Self) -> Option<GoDuration> {
        let between = Duration::try_from(self.0.duration_since(earlier.0)).ok()?;
        (!between.is_zero()).then_some(GoDuration(between))
    }
}

impl FromStr for LeaseInstant {
    type Err = LeaseInstantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &[u8] = b"2000-00-00T00:00:00Z";
        let formed = text.len() == FORM.len()
            && text.starts_with('2')
            && text.bytes().zip(FORM).all(|(byte, form)| match form {
                b'0' | b'2' => byte.is_ascii_digit(),
                _ => byte == *form,
            });
        // A leap second has the right form, but is parsed as another time. Printing must return the text that was
        // parsed.
        let timestamp = text.parse::<Timestamp>().ok().filter(|read| formed && read.to_string() == text);
        timestamp.map(Self).ok_or_else(|| LeaseInstantError { found: text.chars().take(LONGEST).collect() })
    }
}

impl fmt::Display for LeaseInstant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The lease of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The time to live after each renewal.
    pub ttl: GoDuration,
    /// The end of the lease.
    pub expires_at: LeaseInstant,
    /// The last renewal.
    pub updated_at: LeaseInstant,
}

/// A lease that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Some of the three annotations are present and this one is missing.
    #[error("{key} is missing")]
    Missing {
        /// The annotation.
        key: &'static str,
    },
    /// The time to live is not a valid duration.
    #[error("failed to read {}", keys::NAMESPACE_LEASE_TTL)]
    Ttl(#[source] GoDurationError),
    /// One of the two times is invalid.
    #[error("failed to read {key}")]
    Instant {
        /// The annotation.
        key: &'static str,
        /// The problem.
        #[source]
        source: LeaseInstantError,
    },
}

impl LeaseError {
    /// The annotation with the error.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Missing { key } | Self::Instant { key, .. } => key,
            Self::Ttl(_) => keys::NAMESPACE_LEASE_TTL,
        }
    }

    /// The expected form.
    pub const fn expected(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "expected ttl, expires-at and updated-at together, or none of them",
            Self::Ttl(_) => "expected a duration such as \"24h0m0s\"",
            Self::Instant { .. } => "expected UTC with whole seconds, such as \"2026-01-31T12:00:00Z\"",
        }
    }
}

impl Lease {
    /// Reads the lease from a namespace's annotations; `None` if it has none of the three.
    ///
    /// # Errors
    /// [`LeaseError`] for the first annotation that is missing or not in the platform's form.
    pub fn read<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>, LeaseError> {
        let ttl = annotation(keys::NAMESPACE_LEASE_TTL);
        let expires_at = annotation(keys::NAMESPACE_LEASE_EXPIRES_AT);
        let updated_at = annotation(keys::NAMESPACE_LEASE_UPDATED_AT);
        if ttl.is_none() && expires_at.is_none() && updated_at.is_none() {
            return Ok(None);
        }
        let ttl = ttl.ok_or(LeaseError::Missing { key: keys::NAMESPACE_LEASE_TTL })?;
        Ok(Some(Self {
            ttl: ttl.parse().map_err(LeaseError::Ttl)?,
            expires_at: instant(keys::NAMESPACE_LEASE_EXPIRES_AT, expires_at)?,
            updated_at: instant(keys::NAMESPACE_LEASE_UPDATED_AT, updated_at)?,
        }))
    }

    /// A lease that starts now; `None` if it would end after the year 2999.
    pub fn grant(now: Timestamp, ttl: GoDuration) -> Option<Self> {
        let updated_at = LeaseInstant::from_timestamp(now)?;
        Some(Self { ttl, expires_at: updated_at.checked_add(ttl)?, updated_at })
    }

    /// Returns true if the lease ends at its last renewal plus its time to live, within a tolerance.
    pub fn is_consistent(&self, tolerance: Duration) -> bool {
        let Some(expected) = self.updated_at.checked_add(self.ttl) else { return false };
        expected.0.duration_since(self.expires_at.0).unsigned_abs() <= tolerance
    }
}

/// The sum of a time and a duration; `None` if it is out of range.
pub fn later(moment: Timestamp, by: Duration) -> Option<Timestamp> {
    moment.checked_add(SignedDuration::try_from(by).ok()?).ok()
}

fn instant(key: &'static str, text: Option<&str>) -> Result<LeaseInstant, LeaseError> {
    let text = text.ok_or(LeaseError::Missing { key })?;
    text.parse().map_err(|source| LeaseError::Instant { key, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, seconds, printed) in [
            ("24h0m0s", 86_400, "24h0m0s"),
            ("24h", 86_400, "24h0m0s"),
            ("1h30m", 5_400, "1h30m0s"),
            ("90m", 5_400, "1h30m0s"),
            ("1.5h", 5_400, "1h30m0s"),
            ("59s", 59, "59s"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(Duration::from(duration).as_secs(), seconds, "{text}");
            assert_eq!(duration.to_string(), printed);
        }
        for (text, printed) in
            [("1.5s", "1.5s"), ("250ms", "250ms"), ("1.5ms", "1.5ms"), ("2us", "2\u{b5}s"), ("7ns", "7ns")]
        {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_plain_positive_duration_is_refused() {
        for text in [
            "",
            "0",
            "0s",
            "-1h",
            "+1h",
            "10ay",
            "1h1h",
            "1m1h",
            "1d",
            "7 days",
            " 1h",
            "1h ",
            "1H",
            "\u{663}h",
            "1h-5m",
            "1e9999",
            "99999999999999999999h",
            "2562048h",
            ".h",
            "h",
            "1",
            "1..5s",
            "1.5.5s",
            "1\u{0}h",
            "\u{b5}s",
            "1,5h",
            "inf",
            "NaN",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
        assert!("1".repeat(70).parse::<GoDuration>().is_err());
        assert!("2562047h47m16.854775807s".parse::<GoDuration>().is_ok(), "the largest that Go can print");
    }

    #[test]
    fn times_are_read_in_one_form_only() {
        let instant: LeaseInstant = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-01-31T12:00:00Z");
        for text in [
            "",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00-00:00",
            "2026-01-31T12:00:00+14:00",
            "2026-01-31T12:00:00",
            "2026-01-31t12:00:00Z",
            "2026-01-31T12:00:00z",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00.5Z",
            "2026-02-29T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-12-31T23:59:60Z",
            "1999-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "2026-W05-6T12:00:00Z",
            "2026-13-01T00:00:00Z",
            "\u{662}026-01-31T12:00:00Z",
            "2026-01-31T12:00:00Z ",
            "1767225600",
            "+026-01-31T12:00:00Z",
        ] {
            assert!(text.parse::<LeaseInstant>().is_err(), "{text:?}");
        }
        assert!("2028-02-29T00:00:00Z".parse::<LeaseInstant>().is_ok(), "a leap day");
    }

    fn read(
        ttl: Option<&str>,
        expires_at: Option<&str>,
        updated_at: Option<&str>,
    ) -> Result<Option<Lease>, LeaseError> {
        let parts = [
            (keys::NAMESPACE_LEASE_TTL, ttl.map(str::to_owned)),
            (keys::NAMESPACE_LEASE_EXPIRES_AT, expires_at.map(str::to_owned)),
            (keys::NAMESPACE_LEASE_UPDATED_AT, updated_at.map(str::to_owned)),
        ];
        Lease::read(|key| parts.iter().find(|(part, _)| *part == key).and_then(|(_, value)| value.as_deref()))
    }

    #[test]
    fn a_lease_of_two_parts_is_an_error_that_names_the_third() {
        let (ttl, time) = (Some("24h0m0s"), Some("2026-01-31T12:00:00Z"));
        assert_eq!(read(None, None, None), Ok(None));
        for (lease, key) in [
            (read(None, time, time), keys::NAMESPACE_LEASE_TTL),
            (read(ttl, None, time), keys::NAMESPACE_LEASE_EXPIRES_AT),
            (read(ttl, time, None), keys::NAMESPACE_LEASE_UPDATED_AT),
        ] {
            assert_eq!(lease, Err(LeaseError::Missing { key }));
        }
    }

    #[test]
    fn a_lease_as_issued_is_consistent_and_one_that_was_moved_is_not() {
        let now = "2026-01-31T12:00:00.75Z".parse().unwrap();
        let lease = Lease::grant(now, "24h".parse().unwrap()).unwrap();
        assert_eq!(lease.expires_at.to_string(), "2026-02-01T12:00:00Z");
        assert!(lease.is_consistent(Duration::ZERO));
        let moved = Lease { expires_at: "2026-02-01T12:00:02Z".parse().unwrap(), ..lease };
        assert!(!moved.is_consistent(Duration::from_secs(1)));
        assert!(moved.is_consistent(Duration::from_secs(2)));
    }

    #[test]
    fn a_lease_beyond_the_calendar_is_not_issued() {
        assert_eq!(Lease::grant("2999-12-31T23:59:59Z".parse().unwrap(), "1h".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in 1..=i64::MAX as u64) {
            let duration = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn times_survive_a_round_trip(second in 946_684_800i64..32_503_680_000) {
            let instant = LeaseInstant(Timestamp::from_second(second).unwrap());
            prop_assert_eq!(instant.to_string().parse(), Ok(instant));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,70}") {
            let _ = text.parse::<GoDuration>();
            let _ = text.parse::<LeaseInstant>();
        }
    }
}
