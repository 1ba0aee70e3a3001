//! The start times of a daemon's sweeps. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::schedule::Schedule;

/// The maximum time of one sleep, so that a change of the clock is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The next action of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Start a sweep.
    Now {
        /// The latest start time that has passed.
        start: Timestamp,
        /// The number of earlier start times that were missed. They are not made up for.
        missed: usize,
    },
    /// The latest start time has passed its deadline.
    TooLate {
        /// The latest start time.
        latest: Timestamp,
    },
    /// Wait until this time.
    At(Timestamp),
    /// Never start again.
    Never,
}

/// The maximum number of missed starts that are counted.
const COUNTED: usize = 100;

/// The next action, after the last start at `last`.
pub fn due(schedule: &Schedule, last: Timestamp, now: Timestamp, deadline: Duration) -> Due {
    let Some(next) = schedule.after(last) else { return Due::Never };
    if next > now {
        return Due::At(next);
    }
    // A start before the deadline is never made up for, so the search for the latest one may begin there.
    let earliest =
        SignedDuration::try_from(deadline).ok().and_then(|deadline| now.checked_sub(deadline).ok());
    let from = earliest.map_or(last, |earliest| earliest.max(last));
    let come = |time: &Timestamp| *time <= now;
    match schedule.upcoming(from).take_while(come).last() {
        Some(start) => {
            let missed = schedule.upcoming(last).take_while(|time| *time < start).take(COUNTED).count();
            Due::Now { start, missed }
        }
        None => Due::TooLate { latest: from.max(next) },
    }
}

/// The time to sleep now, before `until`.
pub fn pause(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default().min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-02-01T{time}Z").parse().unwrap()
    }

    fn due_at(last: &str, now: &str) -> Due {
        let schedule = "*/15 * * * *".parse().unwrap();
        due(&schedule, at(last), at(now), Duration::from_mins(5))
    }

    #[test]
    fn a_start_is_waited_for_and_then_made() {
        assert_eq!(due_at("12:00:00", "12:14:59"), Due::At(at("12:15:00")));
        assert_eq!(due_at("12:00:00", "12:15:00"), Due::Now { start: at("12:15:00"), missed: 0 });
        assert_eq!(due_at("12:00:00", "12:19:59"), Due::Now { start: at("12:15:00"), missed: 0 });
        assert_eq!(due_at("12:15:00", "12:19:59"), Due::At(at("12:30:00")), "not twice");
    }

    #[test]
    fn starts_that_were_missed_are_made_up_for_once() {
        assert_eq!(due_at("12:00:00", "13:01:00"), Due::Now { start: at("13:00:00"), missed: 3 });
        assert_eq!(due_at("13:00:00", "13:01:00"), Due::At(at("13:15:00")));
    }

    #[test]
    fn a_start_beyond_the_deadline_is_left_out() {
        let Due::TooLate { latest } = due_at("12:00:00", "12:22:00") else { panic!() };
        assert!(latest >= at("12:15:00"));
        let schedule = "*/15 * * * *".parse().unwrap();
        assert_eq!(due(&schedule, latest, at("12:22:00"), Duration::from_mins(5)), Due::At(at("12:30:00")));
    }

    #[test]
    fn a_schedule_that_has_come_to_its_end_is_never_due() {
        let schedule = "0 0 29 2 *".parse().unwrap();
        assert_eq!(due(&schedule, Timestamp::MAX, at("12:00:00"), Duration::ZERO), Due::Never);
    }

    #[test]
    fn no_one_sleeps_so_long_that_a_clock_that_was_set_goes_unnoticed() {
        assert_eq!(pause(at("12:00:00"), at("12:00:07")), Duration::from_secs(7));
        assert_eq!(pause(at("12:00:00"), at("18:00:00")), LONGEST_PAUSE);
        assert_eq!(pause(at("12:00:01"), at("12:00:00")), Duration::ZERO);
    }
}
