//! The chart: its output, its acceptance by a real API server, and its arguments for our own programs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what is found is shown")]

mod base;
mod cert_manager;
mod documented;
mod examples;
mod generated;
mod installed;
mod monitoring;
mod order;
mod packed;
mod places;
#[allow(dead_code, reason = "the rights need a part of the traffic")]
#[path = "../baseline/worker.rs"]
mod platform_worker;
mod policies;
mod rendered;
mod rights;
mod schemas;
mod storage;
mod tutorial;
mod uninstalled;
mod values;
mod walk;
