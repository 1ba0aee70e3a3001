//! The baseline reconciler: puts what every run namespace must hold into it, repairs it, and says when it is there.
//!
//! It is the only writer of the annotations that open a namespace's gate. It can be run as often as one likes at a
//! time: every write is an apply of the same object by the same field manager.

pub mod backoff;
pub mod certificates;
pub mod closed_gates;
pub mod cluster;
pub mod context;
pub mod controller;
mod events;
pub mod fault;
mod gate;
pub mod inspection;
pub mod inspection_cluster;
pub mod last_sweep;
pub mod meta;
pub mod metrics;
pub mod namespace;
pub mod plan;
pub mod quota;
mod traces;

pub use cluster::Cluster;
pub use context::Context;
pub use inspection_cluster::Inspector;
pub use namespace::{NoBackoff, Report};
pub use quota::namespaces::NamespaceQuota;
