//! The baseline and its gate on a real control plane: the platform's worker, and the faults between it and its runs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

mod accounts;
mod drift;
mod faults;
mod gate;
mod harness;
mod inspection;
mod keepalive;
mod leaders;
mod rows;
mod sequence;
mod variables;
mod version;
#[allow(dead_code, reason = "the suite of the chart needs the rest of the traffic")]
mod worker;
