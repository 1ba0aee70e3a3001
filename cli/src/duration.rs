//! Durations on the command line, in Go's format: `10s`, `5m`, `1h30m`.

use std::time::Duration;

use anyhow::anyhow;
use codex_k8s_shared::lease::GoDuration;

/// Parses a duration. Unlike in the contract and in policies, it may be zero: `0s`.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    if text == "0" || text == "0s" {
        return Ok(Duration::ZERO);
    }
    let duration = text.parse::<GoDuration>();
    duration.map(Duration::from).map_err(|_| anyhow!("must be a duration such as 90s, 5m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them_and_a_bare_number_is_refused() {
        for (text, millis) in [("0s", 0), ("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "10", "-5s", "3d", "10000"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
