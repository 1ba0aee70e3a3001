//! Every rule on a real API server: one case admitted, one refused, through every way a request can come in.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod agent_jobs;
mod agents;
mod bypasses;
mod callers;
mod check;
mod clients;
mod cost;
mod coverage;
mod dry_run;
mod examples;
mod guard;
mod guard_fight;
mod guard_rights;
mod guard_tokens;
mod harness;
#[path = "../node/harness.rs"]
#[allow(dead_code, reason = "the scenarios of the node use all of it")]
mod installed;
mod leases;
mod least_rights;
mod live;
mod load;
mod modes;
mod names;
mod namespaces;
mod never_run;
mod outage;
mod platform;
mod plug_ins;
mod pod_security;
mod quota;
mod reload;
mod render;
mod replays;
mod resources;
mod results;
mod rollover;
mod takeovers;
mod unwritten;
mod workloads;
