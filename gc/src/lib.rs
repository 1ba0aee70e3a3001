//! The garbage collector of expired run namespaces.
//!
//! Decisions are pure: [`decide`](decide::decide) says what becomes of one namespace, [`schedule`] when to look.

pub mod decide;
pub mod reason;
pub mod schedule;
