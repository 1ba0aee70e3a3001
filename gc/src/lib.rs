//! The garbage collector of expired run namespaces.

pub mod schedule;
