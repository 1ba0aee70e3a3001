//! The garbage collector on a real control plane: deleted namespaces, retained ones, and the rows about both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod breaker;
mod browser;
mod by_hand;
mod commands;
mod crashes;
mod crowds;
mod database;
mod get;
mod harness;
mod hostile;
mod idle;
mod installed;
mod lifecycle;
mod outages;
mod page;
mod races;
mod reports;
mod states;
mod verdicts;
