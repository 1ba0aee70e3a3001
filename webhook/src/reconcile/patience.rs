//! An object that keeps disappearing comes back ever later: somebody else does not want it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use codex_k8s_shared::baseline::BaselineKind;

use super::namespace::Patience;
use super::plan::Step;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// What has stayed for so long is wanted after all.
const FORGOTTEN: Duration = Duration::from_mins(15);

/// How often each object was created, and when last.
#[derive(Debug, Default)]
pub struct Growing {
    created: Mutex<HashMap<(String, BaselineKind), (u32, Instant)>>,
}

impl Growing {
    /// Notes that an object was created. From the second time on, the delay before the next.
    pub fn created(&self, namespace: &str, kind: BaselineKind, now: Instant) -> Option<Duration> {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.retain(|_, (_, last)| now.duration_since(*last) < FORGOTTEN);
        let (count, last) = created.entry((namespace.to_owned(), kind)).or_insert((0, now));
        (*count, *last) = (count.saturating_add(1), now);
        (*count > 1).then(|| delay(*count))
    }

    /// How long an object must stay away yet.
    pub fn left(&self, namespace: &str, kind: BaselineKind, now: Instant) -> Duration {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created
            .get(&(namespace.to_owned(), kind))
            .map_or(Duration::ZERO, |(count, last)| delay(*count).saturating_sub(now.duration_since(*last)))
    }
}

/// After the first creation nothing is put off; then one second, two, four, up to five minutes.
fn delay(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        _ => FIRST.saturating_mul(1 << (count - 2).min(20)).min(LONGEST),
    }
}

impl Patience for Growing {
    fn puts_off(&self, namespace: &str, step: &Step) -> bool {
        matches!(step, Step::Create(wanted) if !self.left(namespace, wanted.kind, Instant::now()).is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_disappearing_comes_back_ever_later_and_is_forgotten_in_time() {
        let growing = Growing::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limits = BaselineKind::LimitRange;
        assert_eq!(growing.created("a", limits, start), None);
        assert_eq!(growing.left("a", limits, start), Duration::ZERO, "the first loss is healed at once");
        assert_eq!(growing.created("a", limits, start), Some(Duration::from_secs(1)));
        assert_eq!(growing.created("a", limits, at(1)), Some(Duration::from_secs(2)));
        assert_eq!(growing.left("a", limits, at(2)), Duration::from_secs(1));
        assert_eq!(growing.left("a", BaselineKind::Role, at(2)), Duration::ZERO);
        assert_eq!(growing.left("b", limits, at(2)), Duration::ZERO);
        for _ in 0..40 {
            growing.created("a", limits, at(3));
        }
        assert_eq!(growing.left("a", limits, at(3)), LONGEST);
        assert_eq!(growing.created("a", limits, at(3 + 900)), None);
    }
}
