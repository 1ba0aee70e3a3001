//! Times in messages. Pure.

use jiff::{Timestamp, Unit};

/// A time relative to another: `in 2h`, `3d ago`.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.duration_since(now).as_secs();
    let far = seconds.unsigned_abs();
    let span = match far {
        0..120 => format!("{far}s"),
        120..7200 => format!("{}m", far / 60),
        7200..172_800 => format!("{}h", far / 3600),
        _ => format!("{}d", far / 86_400),
    };
    if seconds > 0 { format!("in {span}") } else { format!("{span} ago") }
}

/// A time in whole seconds.
pub fn whole(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_reported_as_people_do() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds| relative(Timestamp::from_second(seconds).unwrap(), now);
        assert_eq!(at(90), "in 90s");
        assert_eq!(at(-600), "10m ago");
        assert_eq!(at(3600 * 24), "in 24h");
        assert_eq!(at(-86_400 * 3), "3d ago");
    }
}
