//! The garbage collector of expired run namespaces.
//!
//! Decisions are pure: [`decide`](codex_k8s_shared::cleanup::decide) is about one namespace, [`plan`] about all of
//! them, [`breaker`] about the plausibility of a whole sweep. [`rows`] builds the audit rows, [`schedule`] the start
//! times. Around them, [`sweep`] reads, writes and deletes.

pub(crate) mod breaker;
pub mod clock;
pub mod cluster;
pub mod daemon;
pub mod fault;
pub mod health;
pub mod install;
pub(crate) mod leaks;
pub(crate) mod outcome;
pub mod page;
pub mod plan;
pub mod progress;
pub(crate) mod rows;
pub mod runs;
pub mod schedule;
pub mod session;
pub mod sweep;
pub mod times;
mod traces;
