//! NamespaceQuota on a real API server: no more run namespaces and agent Jobs work at once than the policy allows, whoever
//! creates them, and whatever becomes of the processes that watch over it.

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
