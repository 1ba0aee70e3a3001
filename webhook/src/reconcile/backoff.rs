//! Delays in favour of other writers of a baseline or of the webhook configurations.
//!
//! The platform's worker creates the baseline of its own namespaces, and retries nothing: if we were a moment faster,
//! it would find a quota that is being counted just then, its update would conflict, and the run would fail. So the
//! worker goes first. An object that keeps disappearing is restored with growing delays, because another writer does
//! not want it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use codex_k8s_shared::baseline::BaselineKind;

use super::namespace::Backoff;
use crate::baseline::plan::Step;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// An object that has existed for this long is not being deleted any more, and starts over without delay.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// The time that the platform goes first, from the moment that its namespace or the last object in it was first seen. Its
/// whole sequence takes a tenth of a second on a quiet cluster, and some seconds per step in a burst.
const HEAD_START: Duration = Duration::from_secs(3);

/// The number and the time of the writes of each key: an object, or a field of one.
#[derive(Debug)]
pub(crate) struct Delays<K> {
    done: HashMap<K, (u32, Instant)>,
}

impl<K> Default for Delays<K> {
    fn default() -> Self {
        Self { done: HashMap::new() }
    }
}

impl<K: Eq + Hash> Delays<K> {
    /// Records a write. Returns the delay before the next one, from the second one on.
    pub(crate) fn done(&mut self, key: K, now: Instant) -> Option<Duration> {
        self.done.retain(|_, (_, last)| now.duration_since(*last) < FORGOTTEN);
        let (count, last) = self.done.entry(key).or_insert((0, now));
        (*count, *last) = (count.saturating_add(1), now);
        (*count > 1).then(|| delay(*count))
    }

    /// Returns the remaining delay before the next write.
    pub(crate) fn left(&self, key: &K, now: Instant) -> Duration {
        let left = |(count, last): &(u32, Instant)| delay(*count).saturating_sub(now.duration_since(*last));
        self.done.get(key).map_or(Duration::ZERO, left)
    }

    /// Returns the keys that were written more than once, and not too long ago.
    pub(crate) fn repeated(&self, now: Instant) -> impl Iterator<Item = &K> {
        let is_repeated = move |count: u32, last| count > 1 && now.duration_since(last) < FORGOTTEN;
        self.done.iter().filter(move |(_, (count, last))| is_repeated(*count, *last)).map(|(key, _)| key)
    }
}

/// The creations of each object, and the namespaces that the platform is building. Keyed by the uid of the namespace, so
/// that another namespace of the same name starts without delay.
#[derive(Debug, Default)]
pub(crate) struct ExponentialBackoff {
    created: Mutex<Delays<(String, BaselineKind)>>,
    building: Mutex<HashMap<String, (usize, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExponentialBackoff {
    /// Records that an object was created. Returns the delay before the next creation, from the second one on.
    pub(crate) fn created(&self, uid: &str, kind: BaselineKind, now: Instant) -> Option<Duration> {
        lock(&self.created).done((uid.to_owned(), kind), now)
    }

    /// Returns the remaining delay before an object may be created.
    pub(crate) fn left(&self, uid: &str, kind: BaselineKind, now: Instant) -> Duration {
        lock(&self.created).left(&(uid.to_owned(), kind), now)
    }

    /// Returns how long the platform still goes first in a namespace that it is building. The time starts again
    /// whenever fewer objects are missing.
    pub(crate) fn head_start(&self, uid: &str, missing: usize, now: Instant) -> Duration {
        let mut building = lock(&self.building);
        building.retain(|_, (_, last)| now.duration_since(*last) < FORGOTTEN);
        let (fewest, last) = building.entry(uid.to_owned()).or_insert((missing, now));
        if missing < *fewest {
            (*fewest, *last) = (missing, now);
        }
        HEAD_START.saturating_sub(now.duration_since(*last))
    }
}

/// Returns the delay after a number of creations: none after the first, then one second, two, four, up to five minutes.
fn delay(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        _ => FIRST.saturating_mul(1 << (count - 2).min(20)).min(LONGEST),
    }
}

impl Backoff for ExponentialBackoff {
    fn lets_the_platform_go_first(&self, uid: &str, missing: usize) -> bool {
        !self.head_start(uid, missing, Instant::now()).is_zero()
    }

    fn puts_off(&self, uid: &str, step: &Step) -> bool {
        matches!(step, Step::Create(desired) if !self.left(uid, desired.kind, Instant::now()).is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_disappearing_comes_back_ever_later_and_is_forgotten_in_time() {
        let backoff = ExponentialBackoff::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limits = BaselineKind::LimitRange;
        assert_eq!(backoff.created("a", limits, start), None);
        assert_eq!(backoff.left("a", limits, start), Duration::ZERO, "the first loss is repaired at once");
        assert_eq!(backoff.created("a", limits, start), Some(Duration::from_secs(1)));
        assert_eq!(backoff.created("a", limits, at(1)), Some(Duration::from_secs(2)));
        assert_eq!(backoff.left("a", limits, at(2)), Duration::from_secs(1));
        assert_eq!(backoff.left("a", BaselineKind::Role, at(2)), Duration::ZERO);
        assert_eq!(backoff.left("b", limits, at(2)), Duration::ZERO);
        for _ in 0..40 {
            backoff.created("a", limits, at(3));
        }
        assert_eq!(backoff.left("a", limits, at(3)), LONGEST);
        assert_eq!(backoff.created("a", limits, at(3 + 900)), None);
    }

    #[test]
    fn two_minutes_of_losses_are_repaired_eight_times_and_then_once_in_five_minutes() {
        let (mut delays, start) = (Delays::default(), Instant::now());
        let mut writes = [0, 0];
        for second in 0..=3600 {
            let now = start + Duration::from_secs(second);
            if delays.left(&"a", now).is_zero() {
                delays.done("a", now);
                writes[usize::from(second > 120)] += 1;
            }
            assert_eq!(delays.repeated(now).count(), usize::from(second > 0));
        }
        // Then after 128, 256 and 512 seconds, and every five minutes.
        assert_eq!(writes, [8, 13]);
        assert_eq!(delays.repeated(start + Duration::from_hours(2)).count(), 0);
    }

    #[test]
    fn the_platform_goes_first_while_it_gets_on() {
        let backoff = ExponentialBackoff::default();
        let start = Instant::now();
        let third = HEAD_START / 3;
        assert_eq!(backoff.head_start("a", 5, start), HEAD_START);
        assert_eq!(backoff.head_start("a", 5, start + third), third * 2);
        assert_eq!(backoff.head_start("a", 3, start + third * 2), HEAD_START, "two are there by now");
        assert_eq!(backoff.head_start("a", 4, start + third * 3), third * 2, "losing one is no progress");
        assert_eq!(backoff.head_start("b", 5, start + third * 4), HEAD_START);
        assert_eq!(backoff.head_start("a", 3, start + third * 5), Duration::ZERO);
    }
}
