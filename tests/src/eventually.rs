//! Waiting for a condition.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// Asks until the answer is there, or says what was waited for in vain.
///
/// # Errors
/// If `timeout` ends first.
pub fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut answer: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return Ok(answer);
        }
        anyhow::ensure!(begun.elapsed() < timeout, "waited {timeout:?} in vain: {what}");
        std::thread::sleep(POLL);
    }
}
