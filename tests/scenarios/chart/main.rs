//! The chart: what it renders, that a real API server takes it, and that our own programs take their arguments.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod installed;
mod monitoring;
mod rendered;
mod values;
