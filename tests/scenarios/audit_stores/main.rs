//! Behaviour that all stores of audit rows share, and the errors of each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod failover;
mod harness;
mod poolers;
mod postgres;
mod postgres_faults;
mod runs;
mod sqlite;
mod suite;
mod versions;
