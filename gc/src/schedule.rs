//! Schedules, as in a Kubernetes CronJob.
//!
//! The `cron` crate computes the times. It supports seconds, numbers weekdays from 1 for Sunday, and requires both
//! day fields to match, none of which a CronJob does. So expressions are parsed here, and passed to the crate as
//! plain lists. Where a CronJob requires **either** of two restricted day fields, the earlier result of two of the
//! crate's schedules is used.
//!
//! A time matches if the wall clock of the zone does: times that daylight saving skips do not occur, those that it
//! repeats occur twice, as in the CronJob controller.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use codex_k8s_shared::lease::GoDuration;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// An invalid schedule. The message names the field, its value and the expected value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither five fields, nor one of the names that begin with `@`.
    #[error(
        "{0:?} is no schedule; expected five fields (minute, hour, day of month, month, day of week), @hourly, @daily, \
         @weekly, @monthly, @yearly or @every with a duration such as 1h30m"
    )]
    Form(String),
    /// The expression contains a zone.
    #[error("{0:?} names a time zone; use the time zone setting instead")]
    Zone(String),
    /// One field is invalid.
    #[error("{field}: found {found:?}; expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// The part of it that is invalid.
        found: String,
        /// The expected value.
        expected: String,
    },
    /// No date matches, such as the 31st of February.
    #[error("{0:?} never comes")]
    Never(String),
}

/// A zone that is not in the time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; expected a name of the time zone database, such as Etc/UTC or Europe/Berlin")]
pub struct ZoneError(String);

/// The allowed values of a field.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    // 7 is Sunday as well, because users expect it, although a CronJob rejects it.
    Field { name: "day of week", least: 0, most: 7, names: &WEEKDAYS },
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The names that stand for expressions.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The values that a field matches, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    bits: u64,
    /// True if a `*` without a step is among its parts. A day field with one does not restrict the days by itself.
    star: bool,
}

impl Values {
    fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |value| self.bits & (1 << value) != 0)
    }

    /// A list in the crate's form, each value shifted.
    fn list(self, shift: u32) -> String {
        self.iter().map(|value| (value + shift).to_string()).collect::<Vec<_>>().join(",")
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<Values, ScheduleError> {
        let mut values = Values { bits: 0, star: false };
        for part in text.split(',') {
            let read = self.part(part)?;
            values = Values { bits: values.bits | read.bits, star: values.star || read.star };
        }
        if values.bits & (1 << 7) != 0 && self.most == 7 {
            values.bits = (values.bits & !(1 << 7)) | 1;
        }
        Ok(values)
    }

    fn part(&self, part: &str) -> Result<Values, ScheduleError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step_by = match step {
            None => 1,
            Some(step) => number(step).filter(|step| *step > 0).ok_or_else(|| self.error(part))?,
        };
        let star = matches!(range, "*" | "?");
        // The 7 is an alias: whole weeks and open ends stop at Saturday.
        let last = if self.most == 7 { 6 } else { self.most };
        let (first, last) = match range.split_once('-') {
            _ if star => (self.least, last),
            Some((first, last)) => (self.value(first, part)?, self.value(last, part)?),
            None if step.is_some() => (self.value(range, part)?, last),
            None => (self.value(range, part)?, self.value(range, part)?),
        };
        if first > last {
            return Err(self.error(part));
        }
        let bits = (first..=last).step_by(step_by as usize).fold(0, |bits, value| bits | (1 << value));
        Ok(Values { bits, star: star && step_by == 1 })
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, ScheduleError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|index| u32::try_from(index).ok()).map(|index| index + self.least);
        named
            .or_else(|| number(text))
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| self.error(part))
    }

    fn error(&self, part: &str) -> ScheduleError {
        let names = match self.names {
            [first, .., last] => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let (least, most) = (self.least, self.most);
        let expected = format!(
            "* or numbers from {least} to {most}{names}, ranges such as {least}-{most}, steps such as */2, and lists of these"
        );
        ScheduleError::Field { field: self.name, found: part.chars().take(40).collect(), expected }
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// The times that the fields of an expression match.
#[derive(Debug, Clone)]
struct Times {
    values: [Values; 5],
    /// One of these must match.
    either: Vec<cron::Schedule>,
}

#[derive(Debug, Clone)]
enum Kind {
    Every(Duration),
    Times(Box<Times>),
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    zone: TimeZone,
    kind: Kind,
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// Parses an expression, in UTC.
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let shown = || text.chars().take(80).collect::<String>();
        if text.contains("TZ=") {
            return Err(ScheduleError::Zone(shown()));
        }
        let kind = if let Some(every) = text.strip_prefix("@every ") {
            let duration: Duration =
                every.parse::<GoDuration>().map_err(|_| ScheduleError::Form(shown()))?.into();
            // Whole seconds, and never without a pause.
            Kind::Every(Duration::from_secs(duration.as_secs().max(1)))
        } else {
            let named = NAMED.iter().find(|(name, _)| *name == text);
            let times = Times::read(named.map_or(text, |(_, expression)| expression))?;
            Kind::Times(Box::new(times.ok_or_else(|| ScheduleError::Form(shown()))?))
        };
        let schedule = Self { text: text.to_owned(), zone: TimeZone::UTC, kind };
        match schedule.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(schedule.text)),
        }
    }
}

impl Times {
    /// Parses the fields; `None` if there are not five.
    fn read(expression: &str) -> Result<Option<Self>, ScheduleError> {
        let fields: Vec<_> = expression.split_ascii_whitespace().collect();
        let Ok(fields) = <[&str; 5]>::try_from(fields) else { return Ok(None) };
        let mut values = [Values { bits: 0, star: false }; 5];
        for ((values, field), text) in values.iter_mut().zip(&FIELDS).zip(fields) {
            *values = field.read(text)?;
        }
        Ok(Some(Self { either: either(values), values }))
    }
}

/// The schedules of the crate, one of which must match.
fn either(values: [Values; 5]) -> Vec<cron::Schedule> {
    let [minute, hour, day, month, weekday] = values;
    let (days, weekdays) = (day.list(0), weekday.list(1));
    let pairs = if day.star || weekday.star {
        vec![(days, weekdays)]
    } else {
        vec![(days, "*".to_owned()), ("*".to_owned(), weekdays)]
    };
    let expression = |(days, weekdays): (String, String)| {
        format!("0 {} {} {days} {} {weekdays}", minute.list(0), hour.list(0), month.list(0))
    };
    // Lists of numbers within their bounds, which the crate always parses.
    pairs.into_iter().filter_map(|pair| cron::Schedule::from_str(&expression(pair)).ok()).collect()
}

impl Schedule {
    /// The same times by the wall clock of another zone.
    ///
    /// # Errors
    /// If the zone is not in the time zone database.
    pub fn in_zone(self, name: &str) -> Result<Self, ZoneError> {
        let zone = TimeZone::get(name).map_err(|_| ZoneError(name.chars().take(80).collect()))?;
        Ok(Self { zone, ..self })
    }

    /// The first time after another; `None` if there is none.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Every(pause) => {
                let pause = i64::try_from(pause.as_secs()).ok()?;
                Timestamp::from_second(time.as_second().checked_add(pause)?).ok()
            }
            Kind::Times(times) => self.matching(times, time),
        }
    }

    /// Between two changes of the zone's offset, the wall clock runs without jumps.
    fn matching(&self, times: &Times, time: Timestamp) -> Option<Timestamp> {
        let mut from = time;
        for _ in 0..MOST_CHANGES {
            let found = times.after(from, self.zone.to_offset(from));
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let Some(change) = change.filter(|change| found.is_none_or(|found| found >= *change)) else {
                return found;
            };
            // The moment of the change itself has the new offset.
            if let Some(found) = times.at(change, self.zone.to_offset(change)) {
                return Some(found);
            }
            from = change;
        }
        None
    }

    /// The times after another, in order.
    pub fn upcoming(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.after(from), |time| self.after(*time))
    }

    /// The schedule in words, such as `at minute 0 and 30 of every hour, every day`.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Every(pause) => format!("every {}", GoDuration::from(*pause)),
            Kind::Times(times) => times.describe(),
        }
    }

    /// The zone of the wall clock.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// The maximum number of changes of the offset. There are at most two a year, so this covers more time than any
/// schedule needs.
const MOST_CHANGES: usize = 400;

impl Times {
    fn after(&self, time: Timestamp, offset: Offset) -> Option<Timestamp> {
        let offset = i64::from(offset.seconds());
        let local: DateTime<Utc> = DateTime::from_timestamp(time.as_second().checked_add(offset)?, 0)?;
        let next = self.either.iter().filter_map(|schedule| schedule.after(&local).next()).min()?;
        Timestamp::from_second(next.timestamp() - offset).ok()
    }

    /// The time itself, if it matches.
    fn at(&self, time: Timestamp, offset: Offset) -> Option<Timestamp> {
        let before = Timestamp::from_second(time.as_second() - 1).ok()?;
        self.after(before, offset).filter(|found| *found == time)
    }
}

impl Times {
    fn describe(&self) -> String {
        let [minute, hour, day, month, weekday] = self.values;
        let plain = |value: u32| value.to_string();
        let time = match (all(minute, 60), all(hour, 24)) {
            (true, true) => "every minute".to_owned(),
            (true, false) => format!("every minute of hour {}", joined(hour, plain)),
            (false, true) => format!("at minute {} of every hour", joined(minute, plain)),
            (false, false) => format!("at minute {} of hour {}", joined(minute, plain), joined(hour, plain)),
        };
        let days = format!("on day {} of the month", joined(day, plain));
        let weekdays = format!("on {}", joined(weekday, |value| name(&WEEKDAYS_IN_FULL, value)));
        let date = match (all(day, 31), all(weekday, 7)) {
            (true, true) => "every day".to_owned(),
            (false, true) => days,
            (true, false) => weekdays,
            (false, false) if self.either.len() > 1 => format!("{days} and also {weekdays}"),
            (false, false) => format!("{days} if it is {}", weekdays.trim_start_matches("on ")),
        };
        let months = joined(month, |value| name(&MONTHS_IN_FULL, value - 1));
        let months = if all(month, 12) { String::new() } else { format!(", in {months}") };
        format!("{time}, {date}{months}")
    }
}

const MONTHS_IN_FULL: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS_IN_FULL: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn name(names: &[&str], index: u32) -> String {
    names.get(index as usize).copied().unwrap_or_default().to_owned()
}

fn all(values: Values, count: u32) -> bool {
    values.bits.count_ones() == count
}

/// `1, 2 and 3`
fn joined(values: Values, word: impl Fn(u32) -> String) -> String {
    let mut names: Vec<_> = values.iter().map(word).collect();
    match (names.pop(), names.is_empty()) {
        (Some(last), false) => format!("{} and {last}", names.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upcoming(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = expression.parse::<Schedule>().unwrap().in_zone(zone).unwrap();
        let from = from.parse::<Timestamp>().unwrap();
        schedule.upcoming(from).take(count).map(|time| time.to_string()).collect()
    }

    #[test]
    fn numbers_of_weekdays_are_those_of_a_cron_job() {
        // 2026-11-23 is a Monday.
        let first = |weekday: &str| {
            upcoming(&format!("0 0 * * {weekday}"), "UTC", "2026-11-22T12:00:00Z", 1).remove(0)
        };
        assert_eq!(first("1"), "2026-11-23T00:00:00Z");
        assert_eq!(first("MON"), first("1"));
        assert_eq!(first("0"), "2026-11-29T00:00:00Z");
        assert_eq!(first("7"), first("sun"));
        assert_eq!(first("5-7"), "2026-11-27T00:00:00Z");
    }

    #[test]
    fn either_of_two_restricted_day_fields_is_enough_and_a_star_restricts_nothing() {
        let next = |expression: &str| upcoming(expression, "UTC", "2026-11-22T12:00:00Z", 3);
        assert_eq!(
            next("0 0 25 * 1"),
            ["2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z", "2026-11-30T00:00:00Z"]
        );
        assert_eq!(next("0 0 * * 1")[1], "2026-11-30T00:00:00Z");
        assert_eq!(next("0 0 25 * *")[1], "2026-12-25T00:00:00Z");
        assert_eq!(next("0 0 25 * */1"), next("0 0 25 * *"));
        assert_eq!(next("0 0 25 * */2")[0], "2026-11-24T00:00:00Z", "a star with a step restricts");
    }

    #[test]
    fn what_daylight_saving_skips_does_not_come_and_what_it_repeats_comes_twice() {
        // Berlin, 2026: 02:00 to 03:00 on 29 March does not exist, 02:00 to 03:00 on 25 October occurs twice.
        assert_eq!(
            upcoming("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
        );
        assert_eq!(
            upcoming("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            upcoming("0 3 29 3 *", "Europe/Berlin", "2026-03-01T00:00:00Z", 1),
            ["2026-03-29T01:00:00Z"]
        );
    }

    #[test]
    fn leap_days_come_in_leap_years() {
        assert_eq!(
            upcoming("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
        );
    }

    #[test]
    fn names_mean_their_numbers() {
        for (name, expression) in NAMED {
            let from = "2026-11-22T12:34:56Z";
            assert_eq!(
                upcoming(name, "Asia/Kathmandu", from, 3),
                upcoming(expression, "Asia/Kathmandu", from, 3)
            );
        }
        assert_eq!(
            upcoming("@every 1h30m", "UTC", "2026-11-22T12:00:00.9Z", 2),
            ["2026-11-22T13:30:00Z", "2026-11-22T15:00:00Z"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_reported_with_its_field() {
        let error = |text: &str| text.parse::<Schedule>().unwrap_err().to_string();
        for (text, expected) in [
            ("", "\"\" is no schedule; expected five fields"),
            ("* * * *", "expected five fields"),
            ("0 * * * * *", "expected five fields"),
            ("@sometimes", "expected five fields"),
            ("@every soon", "expected five fields"),
            ("60 * * * *", "minute: found \"60\"; expected * or numbers from 0 to 59"),
            ("* 24 * * *", "hour: found \"24\""),
            ("* * 0 * *", "day of month: found \"0\""),
            ("* * * Foo *", "month: found \"Foo\"; expected * or numbers from 1 to 12 or jan to dec"),
            ("* * * * 8", "day of week: found \"8\""),
            ("5-3 * * * *", "minute: found \"5-3\""),
            ("*/0 * * * *", "minute: found \"*/0\""),
            ("1,,2 * * * *", "minute: found \"\""),
            ("+5 * * * *", "minute: found \"+5\""),
            ("0 0 31 2 *", "\"0 0 31 2 *\" never comes"),
            ("CRON_TZ=Asia/Tokyo 0 0 * * *", "use the time zone setting instead"),
        ] {
            let found = error(text);
            assert!(found.contains(expected), "{text:?}: {found}");
        }
        let zone = "@hourly".parse::<Schedule>().unwrap().in_zone("Mars/Olympus").unwrap_err().to_string();
        assert!(zone.starts_with("\"Mars/Olympus\" is no time zone"), "{zone}");
    }

    #[test]
    fn zones_are_known_where_no_time_zone_database_is_installed() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        for name in ["Etc/UTC", "Europe/Berlin"] {
            assert!(bundled.get(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_schedule_is_described_in_english() {
        let describe = |text: &str| text.parse::<Schedule>().unwrap().describe();
        assert_eq!(describe("*/15 * * * *"), "at minute 0, 15, 30 and 45 of every hour, every day");
        assert_eq!(
            describe("30 3 * jan,jul mon-fri"),
            "at minute 30 of hour 3, on Monday, Tuesday, Wednesday, Thursday and Friday, in January and July"
        );
        assert_eq!(describe("0 0 1 * 0"), "at minute 0 of hour 0, on day 1 of the month and also on Sunday");
        assert_eq!(describe("@every 90s"), "every 1m30s");
        assert_eq!(describe("* * * * *"), "every minute, every day");
    }
}
