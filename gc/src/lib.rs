//! The garbage collector of expired run namespaces.
//!
//! Decisions are pure: [`decide`](decide::decide) says what becomes of one namespace, [`breaker`] whether a whole sweep can
//! be right, [`schedule`] when to look.

pub mod breaker;
pub mod decide;
pub mod reason;
pub mod schedule;
