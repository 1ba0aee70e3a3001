//! Quantities of resources, exactly as Kubernetes parses them: `250m`, `1.5Gi`, `2e3`.
//!
//! The precision is billionths, as in Kubernetes: finer values are rounded up, away from zero. Values above 2^63-1
//! are cut to that. Both follow `apimachinery`.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// The number of billionths in one.
const NANO: i128 = 1_000_000_000;
/// 2^63-1, in billionths.
const MAX: i128 = i64::MAX as i128 * NANO;

/// The form in which a quantity was written and is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// `m`, `k`, `M` ...
    Decimal,
    /// `Ki`, `Mi` ...
    Binary,
}

/// A quantity. Two quantities are equal if their values are, regardless of their form.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    form: Form,
}

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantity; expected a number with an optional suffix, such as 250m, 4 or 1Gi")]
pub struct QuantityError(String);

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { nano: 0, form: Form::Decimal };

    /// The quantity of a whole number.
    pub(crate) const fn of(count: u32) -> Self {
        Self { nano: count as i128 * NANO, form: Form::Decimal }
    }

    /// Returns true if the quantity is a whole number, as the API server finds out: it rounds up to thousandths first.
    pub(super) const fn is_whole(self) -> bool {
        const MILLI: i128 = NANO / 1000;
        rounded_up(self.nano, MILLI) % 1000 == 0
    }

    /// Returns true if the quantity, rounded up to a whole number, is a multiple of `unit`, which is one of at least 1.
    pub(super) const fn is_multiple_of(self, unit: Self) -> bool {
        let size = rounded_up(unit.nano, NANO);
        size > 0 && unit.is_whole() && rounded_up(self.nano, NANO) % size == 0
    }
}

/// The number of `units` in `nano`, rounded up.
const fn rounded_up(nano: i128, units: i128) -> i128 {
    nano.div_euclid(units) + (nano.rem_euclid(units) != 0) as i128
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let form = if self.nano == 0 { other.form } else { self.form };
        Self { nano: (self.nano + other.nano).clamp(-MAX, MAX), form }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, |sum, quantity| sum + quantity)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

const BINARY: [(&str, i128); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
/// The suffixes and their powers of ten.
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text).ok_or_else(|| QuantityError(text.chars().take(40).collect()))
    }
}

/// So many digits, with any suffix, are less than the largest `i128`.
const SHORT: usize = 9;

fn parse(text: &str) -> Option<Quantity> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let binary = BINARY.iter().find(|(listed, _)| *listed == suffix).map(|(_, factor)| *factor);
    if fraction.is_empty() && whole.len() <= SHORT {
        // Almost every quantity is a short whole number with a suffix: nothing is rounded or cut then.
        let decimal = || DECIMAL.iter().find(|(listed, _)| *listed == suffix);
        let unit = binary.map(|factor| (factor * NANO, Form::Binary)).or_else(|| {
            let (_, power) = decimal()?;
            Some((10_i128.pow(u32::try_from(power + 9).ok()?), Form::Decimal))
        });
        if let Some((unit, form)) = unit {
            let nano = (whole.parse::<i128>().ok()? * unit).min(MAX);
            return Some(Quantity { nano: if negative { -nano } else { nano }, form });
        }
    }
    let (magnitude, form) = if let Some(factor) = binary {
        (scaled_by(whole, fraction, factor * NANO), Form::Binary)
    } else {
        (shifted_by(whole, fraction, power(suffix)?.saturating_add(9)), Form::Decimal)
    };
    let magnitude = magnitude.min(MAX);
    Some(Quantity { nano: if negative { -magnitude } else { magnitude }, form })
}

/// The power of ten of a decimal suffix or exponent.
fn power(suffix: &str) -> Option<i32> {
    if let Some((_, power)) = DECIMAL.iter().find(|(listed, _)| *listed == suffix) {
        return Some(*power);
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent that is out of range is cut or rounded like any other.
    Some(exponent.parse().unwrap_or(if exponent.starts_with('-') { -1000 } else { 1000 }))
}

/// More digits than any quantity has. The remaining ones only matter for rounding up.
const DIGITS: usize = 30;

/// `whole.fraction` times `10^power`, rounded up.
fn shifted_by(whole: &str, fraction: &str, power: i32) -> i128 {
    let digits: String = whole.chars().chain(fraction.chars()).skip_while(|digit| *digit == '0').collect();
    let (rest, dropped) = digits.split_at(digits.len().min(DIGITS));
    let value: i128 = rest.parse().unwrap_or(0);
    let decimals = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    let power = power.saturating_sub(decimals(fraction)).saturating_add(decimals(dropped));
    let sticky = i128::from(dropped.bytes().any(|digit| digit != b'0'));
    match u32::try_from(power) {
        _ if value == 0 => 0,
        Ok(power) => {
            let scaled = 10_i128.checked_pow(power).and_then(|factor| (value + sticky).checked_mul(factor));
            scaled.unwrap_or(MAX)
        }
        Err(_) => match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => (value + sticky + divisor - 1) / divisor,
            None => 1,
        },
    }
}

/// `whole.fraction` times `factor`, rounded up.
fn scaled_by(whole: &str, fraction: &str, factor: i128) -> i128 {
    /// A fraction of this many digits times the largest factor still fits.
    const DECIMALS: usize = 10;
    let whole = whole.trim_start_matches('0');
    let ones = if whole.is_empty() { Some(0) } else { whole.parse::<i128>().ok() };
    let ones = ones.and_then(|ones| ones.checked_mul(factor)).unwrap_or(MAX);
    let (rest, dropped) = fraction.split_at(fraction.len().min(DECIMALS));
    let sticky = i128::from(dropped.bytes().any(|digit| digit != b'0'));
    let divisor = 10_i128.pow(u32::try_from(rest.len()).unwrap_or(0));
    let parts = (rest.parse::<i128>().unwrap_or(0) + sticky) * factor;
    ones.saturating_add((parts + divisor - 1) / divisor)
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that does not need a fraction.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = BINARY.iter().find(|(_, factor)| self.nano % (factor * NANO) == 0);
        if let (Form::Binary, Some((suffix, factor)), true) = (self.form, binary, self.nano != 0) {
            return write!(out, "{}{suffix}", self.nano / (factor * NANO));
        }
        if self.nano == 0 {
            return out.write_str("0");
        }
        // Whole numbers of bytes that are not multiples of a kibibyte are printed as plain numbers.
        let plain = self.form == Form::Binary && self.nano % NANO == 0;
        for (suffix, power) in DECIMAL.iter().filter(|(suffix, _)| !plain || suffix.is_empty()) {
            let unit = 10_i128.pow(u32::try_from(power + 9).unwrap_or(0));
            if self.nano % unit == 0 {
                return write!(out, "{}{suffix}", self.nano / unit);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn quantities_are_worth_what_kubernetes_says() {
        for (text, nano) in [
            ("0", 0),
            ("0n", 0),
            ("1n", 1),
            ("1u", 1000),
            ("100m", 100_000_000),
            ("1", NANO),
            (".5", NANO / 2),
            ("5.", 5 * NANO),
            ("+7", 7 * NANO),
            ("-250m", -NANO / 4),
            ("2k", 2000 * NANO),
            ("2e3", 2000 * NANO),
            ("2E3", 2000 * NANO),
            ("2E-3", 2 * NANO / 1000),
            ("1E", 1_000_000_000_000_000_000 * NANO),
            ("1Ki", 1024 * NANO),
            ("1.5Gi", 1_610_612_736 * NANO),
            ("0.5Mi", 524_288 * NANO),
            ("1Ei", (1 << 60) * NANO),
            ("9223372036854775807", MAX),
            ("9223372036854775808", MAX),
            ("100E", MAX),
            ("9e36", MAX),
            ("1e999999999999", MAX),
            ("100000000000000000000000000000000000000000000000Ei", MAX),
            ("-100E", -MAX),
            ("0.0000000001", 1),
            ("1.0000000001", NANO + 1),
            ("-0.0000000001", -1),
            ("1e-999999999999", 1),
            ("0e999", 0),
            ("000000000000000000000000000000000000000001", NANO),
        ] {
            assert_eq!(quantity(text).nano, nano, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", ".", "-", "Gi", "1gi", "1 ", " 1", "1ki", "1K", "1.2.3", "1e", "1e+", "1mm", "--1", "0x1",
            "1,5", "1Zi", "٣",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
        let error = "much".parse::<Quantity>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"much\" is no quantity; expected a number with an optional suffix, such as 250m, 4 or 1Gi"
        );
    }

    #[test]
    fn quantities_are_printed_as_kubernetes_does() {
        for (text, printed) in [
            ("1000m", "1"),
            ("0.25", "250m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("8000", "8k"),
            ("1025", "1025"),
            ("0", "0"),
            ("-1500m", "-1500m"),
            ("0.5Ki", "512"),
            ("1n", "1n"),
        ] {
            assert_eq!(quantity(text).to_string(), printed, "{text}");
        }
        assert_eq!((quantity("750m") + quantity("250m")).to_string(), "1");
        assert_eq!([quantity("256Mi"), quantity("768Mi")].into_iter().sum::<Quantity>().to_string(), "1Gi");
    }

    #[test]
    fn whole_numbers_and_multiples_are_found_as_kubernetes_does() {
        let whole = ["0", "1", "2000m", "1Gi", "0.9999999", "-1"].map(|text| quantity(text).is_whole());
        assert_eq!(whole, [true; 6]);
        assert!(!quantity("1500m").is_whole() && !quantity("0.1").is_whole());
        let multiple = |text: &str, unit: &str| quantity(text).is_multiple_of(quantity(unit));
        assert!(multiple("4Mi", "2Mi") && multiple("0", "2Mi") && multiple("1Gi", "2Mi"));
        assert!(!multiple("3Mi", "2Mi") && !multiple("1", "0") && !multiple("1", "500m"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_as_the_same(nano in -MAX..=MAX, binary in any::<bool>()) {
            let form = if binary { Form::Binary } else { Form::Decimal };
            let printed = Quantity { nano, form }.to_string();
            prop_assert_eq!(quantity(&printed).nano, nano, "{}", printed);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,60}([eE][-+]?[0-9]{0,12}|[numkMGTPEi]{0,3})") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert!(quantity.nano.abs() <= MAX);
            }
        }
    }
}
