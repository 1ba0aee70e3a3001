//! The baseline reconciler: creates and repairs the objects that every run namespace must hold, and opens its gate.
//!
//! It is the only writer of the annotations that open a namespace's gate. Several instances can run at the same time,
//! because every write is an apply of the same object by the same field manager.

pub mod audit_rows;
pub(crate) mod backoff;
pub mod certificates;
pub mod closed_gates;
pub(crate) mod cluster;
pub(crate) mod context;
pub mod controller;
mod events;
pub mod fault;
mod gate;
pub mod inspection;
pub(crate) mod inspection_cluster;
mod job_rows;
pub mod last_sweep;
pub mod metrics;
pub mod namespace;
pub mod quota;
mod traces;

pub use cluster::Cluster;
pub use context::Context;
pub use inspection_cluster::Inspector;
pub use namespace::{NoBackoff, Report};
pub use quota::namespaces::NamespaceQuota;
