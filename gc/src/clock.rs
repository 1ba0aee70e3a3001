//! The time.

use jiff::{SignedDuration, Timestamp};

/// The source of the time: this machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ahead: SignedDuration,
}

impl Clock {
    /// This machine's clock. With the feature `fault-points`, `CODEX_K8S_CLOCK_AHEAD` shifts it by this many seconds.
    pub fn of_this_machine() -> Self {
        #[cfg(feature = "fault-points")]
        if let Some(seconds) =
            std::env::var("CODEX_K8S_CLOCK_AHEAD").ok().and_then(|ahead| ahead.parse().ok())
        {
            return Self { ahead: SignedDuration::from_secs(seconds) };
        }
        Self::default()
    }

    /// The current time.
    pub fn now(self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.ahead).unwrap_or(now)
    }
}
