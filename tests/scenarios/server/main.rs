//! The HTTPS server: what it answers to whom, and what it does when there is too much of it. No cluster is needed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod drain;
mod harness;
mod limits;
mod protocol;
