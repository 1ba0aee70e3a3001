//! Quotas: which run namespaces and agent Jobs may work at once. A reservation is a Lease of the install namespace.

pub mod controller;
pub mod job;
pub mod job_controller;
pub mod jobs;
mod leases;
pub mod namespaces;
pub mod pending;
pub mod reservations;
pub mod store;
