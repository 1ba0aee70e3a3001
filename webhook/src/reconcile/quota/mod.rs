//! Quotas: limits on concurrent run namespaces and agent Jobs. A reservation is a Lease in the install namespace.

pub mod controller;
pub mod job;
pub mod job_controller;
pub mod jobs;
mod leases;
pub mod namespaces;
pub mod pending;
pub mod reservations;
pub mod store;
