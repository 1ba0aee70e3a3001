//! Observation: metrics, alerts and their runbooks, the dashboard.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod alerts;
mod cluster;
mod dashboard;
mod metrics;
mod runbooks;
mod tables;
mod traces;
