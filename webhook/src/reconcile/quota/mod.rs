//! Quotas: limits on concurrent run namespaces and agent Jobs. A reservation is a Lease in the install namespace.

pub(crate) mod controller;
pub(crate) mod job;
pub(crate) mod job_controller;
pub(crate) mod jobs;
mod leases;
pub mod namespaces;
pub(crate) mod pending;
pub(crate) mod reservations;
pub(crate) mod store;
