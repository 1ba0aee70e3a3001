//! The time.

use jiff::{SignedDuration, Timestamp};

/// Where the time comes from: this machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ahead: SignedDuration,
}

impl Clock {
    /// This machine's clock. With the feature `fault-points`, `CODEX_K8S_CLOCK_AHEAD` says by how many seconds it is
    /// wrong.
    pub fn of_this_machine() -> Self {
        #[cfg(feature = "fault-points")]
        if let Some(seconds) =
            std::env::var("CODEX_K8S_CLOCK_AHEAD").ok().and_then(|ahead| ahead.parse().ok())
        {
            return Self { ahead: SignedDuration::from_secs(seconds) };
        }
        Self::default()
    }

    /// Now.
    pub fn now(self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.ahead).unwrap_or(now)
    }
}
