//! The baseline reconciler: puts what every run namespace must hold into it, heals it, and says when it is there.
//!
//! It is the only writer of the annotations that open a namespace's gate. It can be run as often as one likes at a
//! time: every write is an apply of the same object by the same field manager.

pub mod certificates;
pub mod cluster;
pub mod controller;
mod events;
pub mod fault;
mod gate;
pub mod gates;
pub mod inspection;
pub mod inspection_cluster;
pub mod jobs;
pub mod jobs_cluster;
pub mod jobs_keeper;
pub mod keeper;
pub mod last_sweep;
mod leases;
pub mod ledger;
pub mod metrics;
pub mod namespace;
pub mod patience;
pub mod places;
pub mod places_cluster;
pub mod plan;
mod traces;
pub mod waits;

pub use cluster::Cluster;
pub use controller::Context;
pub use inspection_cluster::Inspector;
pub use namespace::{AtOnce, Report};
pub use places_cluster::Places;
