//! What every store of audit rows does, and what each says when it cannot.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod harness;
mod postgres;
mod postgres_faults;
mod runs;
mod sqlite;
mod suite;
