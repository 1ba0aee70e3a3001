//! Waiting for a condition.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// Polls until there is a value.
///
/// # Errors
/// Returns an error if the timeout expires first; with `what` was expected.
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
        anyhow::ensure!(begun.elapsed() < timeout, "timed out after {timeout:?}: {what}");
        std::thread::sleep(POLL);
    }
}
