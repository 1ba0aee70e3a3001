//! Quotas on a real API server: no more run namespaces and agent Jobs work at once than the policy allows, regardless
//! of the user that creates them and of processes that are killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod agents;
mod cycles;
mod exactness;
mod forged;
mod forwarder;
mod harness;
mod jobs;
mod limits;
mod orphans;
mod rights;
