//! The chart: what it renders, that a real API server takes it, and that our own programs take their arguments.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what is found is shown")]

mod base;
mod cert_manager;
mod documented;
mod installed;
mod monitoring;
mod policies;
mod purged;
mod rendered;
mod rights;
mod schemas;
mod values;
