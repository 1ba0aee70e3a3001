//! The HTTPS server: its answers, and its behaviour under overload. No cluster is needed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod drain;
mod harness;
mod limits;
mod protocol;
