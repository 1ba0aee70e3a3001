//! The circuit breaker: aborts a sweep that would delete implausibly many namespaces.
//!
//! A selector that matches everything, a policy that counts missing leases as over, a clock a year ahead, a database
//! that was restored empty: each makes every single decision look right. Their common symptom is that too many
//! namespaces are due at once. Namespaces that are due by their own lease alone do not count towards that, because
//! anyone who may create run namespaces can let any number of them end at the same moment, and would stop the cleanup
//! of all others. They are deleted, the oldest first, up to `maxDeletions` in one sweep. A wrong clock makes leases
//! end as well, so that check applies to all namespaces.

use std::fmt;
use std::time::Duration;

use codex_k8s_shared::policy::Breaker;
use jiff::{SignedDuration, Timestamp};

/// A sweep, before its first deletion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// The number of managed namespaces.
    pub managed: u32,
    /// The number of namespaces that are due.
    pub due: u32,
    /// The number of those that are due for reasons other than their own lease.
    pub due_by_policy: u32,
    /// The same number in the last sweep; `None` if there was none.
    pub due_before: Option<u32>,
    /// The local clock minus the API server's; `None` if the API server did not report its time.
    pub ahead: Option<SignedDuration>,
    /// The number of runs that were requested from the database; 0 without a database.
    pub runs_requested: u32,
    /// The number of these that are not in the database.
    pub runs_unknown: u32,
}

/// The reason for which nothing is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trip {
    /// More namespaces than one sweep may delete.
    Count {
        /// The number of namespaces that are due.
        due: u32,
        /// The maximum in one sweep.
        most: u32,
    },
    /// Too large a share of all managed namespaces.
    Share {
        /// The number of namespaces that are due.
        due: u32,
        /// The number of managed namespaces.
        managed: u32,
        /// The maximum share, in percent.
        most_percent: u8,
    },
    /// Too large a growth since the last sweep.
    Jump {
        /// The number of namespaces that are due.
        due: u32,
        /// The number in the last sweep.
        before: u32,
        /// The maximum factor.
        most_times: u32,
    },
    /// The local clock and the API server's differ.
    Clock {
        /// The local clock minus the API server's.
        ahead: SignedDuration,
        /// The maximum difference.
        most: Duration,
    },
    /// The API server did not report its time.
    NoClock,
    /// None of the runs is in the database.
    Database {
        /// The number of runs that were requested.
        requested: u32,
    },
}

/// This few unknown runs do not indicate an empty database.
const FEW: u32 = 3;

impl Trip {
    /// The code in rows and metrics.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Count { .. } => "too_many_deletions",
            Self::Share { .. } => "too_large_a_share",
            Self::Jump { .. } => "sudden_jump",
            Self::Clock { .. } => "clock_skew",
            Self::NoClock => "server_time_unknown",
            Self::Database { .. } => "implausible_database",
        }
    }

    /// Returns true if an operator may allow the sweep once: if there are many deletions, but nothing is wrong.
    pub(crate) const fn can_be_allowed(&self) -> bool {
        matches!(self, Self::Count { .. } | Self::Share { .. } | Self::Jump { .. })
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { due, most } => {
                write!(
                    out,
                    "{due} namespaces are due otherwise than by their own leases; one sweep deletes {most} at most"
                )
            }
            Self::Share { due, managed, most_percent } => {
                write!(
                    out,
                    "{due} of {managed} managed namespaces are due otherwise than by their own leases; one sweep deletes {most_percent} % at most"
                )
            }
            Self::Jump { due, before, most_times } => {
                write!(
                    out,
                    "{due} namespaces are due otherwise than by their own leases, {before} were at the last sweep; {most_times} times as many are believed at most"
                )
            }
            Self::Clock { ahead, most } => {
                let (seconds, side) =
                    (ahead.unsigned_abs().as_secs(), if ahead.is_negative() { "behind" } else { "ahead of" });
                write!(
                    out,
                    "our clock is {seconds} s {side} the API server's; {} s at most are trusted",
                    most.as_secs()
                )
            }
            Self::NoClock => {
                out.write_str("the API server did not tell its time: our clock cannot be trusted")
            }
            Self::Database { requested } => {
                write!(
                    out,
                    "the database knows none of the {requested} runs that it was asked for: it is not the platform's, or it is empty"
                )
            }
        }
    }
}

/// The limits that a sweep exceeds. They are also checked if nothing is due, because with a clock that is behind, or
/// an empty database, nothing ever would be due. `allowed` is the number of deletions that an operator allows in this
/// sweep.
pub(crate) fn trips(breaker: &Breaker, sweep: &Sweep, allowed: Option<u32>) -> Vec<Trip> {
    let found = [
        count(breaker, sweep),
        share(breaker, sweep),
        jump(breaker, sweep),
        clock(breaker, sweep),
        database(sweep),
    ];
    let is_allowed =
        |trip: &Trip| trip.can_be_allowed() && allowed.is_some_and(|allowed| sweep.due_by_policy <= allowed);
    found.into_iter().flatten().filter(|trip| !is_allowed(trip)).collect()
}

fn count(breaker: &Breaker, sweep: &Sweep) -> Option<Trip> {
    let (due, most) = (sweep.due_by_policy, breaker.max_deletions);
    (due > most).then_some(Trip::Count { due, most })
}

fn share(breaker: &Breaker, sweep: &Sweep) -> Option<Trip> {
    let (due, managed, most_percent) = (sweep.due_by_policy, sweep.managed, breaker.max_share_percent);
    let too_large = u64::from(due) * 100 > u64::from(managed) * u64::from(most_percent);
    (due >= breaker.min_for_share && too_large).then_some(Trip::Share { due, managed, most_percent })
}

fn jump(breaker: &Breaker, sweep: &Sweep) -> Option<Trip> {
    let (due, before, most_times) = (sweep.due_by_policy, sweep.due_before?, breaker.max_growth_factor);
    let believed = before.max(1).saturating_mul(most_times).saturating_add(breaker.min_for_share);
    (due > believed).then_some(Trip::Jump { due, before, most_times })
}

fn clock(breaker: &Breaker, sweep: &Sweep) -> Option<Trip> {
    let most = breaker.max_clock_skew;
    match sweep.ahead {
        // While nothing is due, a server that does not report its time does no harm.
        None => (sweep.due > 0).then_some(Trip::NoClock),
        Some(ahead) => (ahead.unsigned_abs() > most).then_some(Trip::Clock { ahead, most }),
    }
}

fn database(sweep: &Sweep) -> Option<Trip> {
    let requested = sweep.runs_requested;
    (requested > FEW && sweep.runs_unknown == requested).then_some(Trip::Database { requested })
}

/// The local clock minus the time in a server's `date` header: whole seconds, truncated.
pub(crate) fn ahead_of(date: Timestamp, ours: Timestamp) -> SignedDuration {
    ours.duration_since(date) - SignedDuration::from_millis(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(managed: u32, due: u32) -> Sweep {
        let ahead = Some(SignedDuration::ZERO);
        Sweep { managed, due, due_by_policy: due, ahead, ..Sweep::default() }
    }

    fn codes(sweep: &Sweep, allowed: Option<u32>) -> Vec<&'static str> {
        trips(&Breaker::default(), sweep, allowed).iter().map(Trip::code).collect()
    }

    #[test]
    fn an_ordinary_sweep_passes() {
        assert_eq!(codes(&sweep(100, 50), None), [""; 0]);
        assert_eq!(codes(&sweep(19, 19), None), [""; 0], "so few may all go");
        assert_eq!(codes(&Sweep { due_before: Some(2), ..sweep(300, 40) }, None), [""; 0]);
        assert_eq!(
            codes(&Sweep { ahead: None, ..sweep(300, 0) }, None),
            [""; 0],
            "nothing is deleted anyway"
        );
    }

    #[test]
    fn too_many_too_large_a_share_and_a_sudden_jump_trip_until_they_are_allowed() {
        assert_eq!(codes(&sweep(1000, 201), None), ["too_many_deletions"]);
        assert_eq!(codes(&sweep(1000, 201), Some(201)), [""; 0]);
        assert_eq!(codes(&sweep(1000, 202), Some(201)), ["too_many_deletions"], "so many and no more");
        assert_eq!(codes(&sweep(30, 20), None), ["too_large_a_share"]);
        assert_eq!(codes(&Sweep { due_before: Some(2), ..sweep(300, 41) }, None), ["sudden_jump"]);
        assert_eq!(codes(&Sweep { due_before: Some(0), ..sweep(300, 31) }, None), ["sudden_jump"]);
    }

    #[test]
    fn what_is_due_by_its_own_lease_trips_nothing_but_a_wrong_clock() {
        let own = Sweep { due_by_policy: 0, due_before: Some(0), ..sweep(1000, 1000) };
        assert_eq!(codes(&own, None), [""; 0]);
        let ahead = Some(SignedDuration::from_hours(24 * 365));
        assert_eq!(codes(&Sweep { ahead, ..own }, None), ["clock_skew"]);
        assert_eq!(codes(&Sweep { ahead: None, ..own }, None), ["server_time_unknown"]);
        let mixed = Sweep { due_by_policy: 31, ..own };
        assert_eq!(codes(&mixed, None), ["sudden_jump"], "beside as many as there may be by lease");
    }

    #[test]
    fn a_clock_or_a_database_that_is_wrong_cannot_be_allowed() {
        for hours in [1, -1, 24 * 365, -24 * 365] {
            let ahead = Some(SignedDuration::from_hours(hours));
            assert_eq!(codes(&Sweep { ahead, ..sweep(100, 1) }, Some(1000)), ["clock_skew"], "{hours}");
        }
        assert_eq!(codes(&Sweep { ahead: None, ..sweep(100, 1) }, Some(1000)), ["server_time_unknown"]);
        let empty = Sweep { runs_requested: 40, runs_unknown: 40, ..sweep(100, 1) };
        assert_eq!(codes(&empty, Some(1000)), ["implausible_database"]);
        assert_eq!(codes(&Sweep { runs_unknown: 39, ..empty }, None), [""; 0]);
    }

    #[test]
    fn what_keeps_everything_from_ever_being_due_trips_as_well() {
        let behind = Sweep { ahead: Some(SignedDuration::from_hours(-1)), ..sweep(100, 0) };
        assert_eq!(codes(&behind, None), ["clock_skew"]);
        let empty = Sweep { runs_requested: 40, runs_unknown: 40, ..sweep(100, 0) };
        assert_eq!(codes(&empty, None), ["implausible_database"]);
    }

    #[test]
    fn what_tripped_is_reported_in_a_sentence() {
        let ahead = Some(SignedDuration::from_secs(-3600));
        let messages = trips(&Breaker::default(), &Sweep { ahead, ..sweep(100, 90) }, None);
        let messages: Vec<_> = messages.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "90 of 100 managed namespaces are due otherwise than by their own leases; one sweep deletes 50 % at most",
                "our clock is 3600 s behind the API server's; 30 s at most are trusted",
            ]
        );
    }

    #[test]
    fn a_server_that_cuts_its_seconds_off_is_taken_to_be_half_a_second_later() {
        let date: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        let ours: Timestamp = "2026-02-01T12:00:00.7Z".parse().unwrap();
        assert_eq!(ahead_of(date, ours), SignedDuration::from_millis(200));
    }
}
