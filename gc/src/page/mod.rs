//! The page: the run namespaces, with the decision about each and its reason. Read-only, and without scripts.
//!
//! [`view`] renders it from a [`Model`](model::Model) and a [`Query`](query::Query), and does nothing else, and [`json`]
//! has the same data for scripts. Around them,
//! [`gather`] reads the data, and [`server`] responds to requests.
//!
//! Unknown values are shown as unknown, with the reason: never as nothing, and never as 0.

pub mod gather;
mod json;
mod model;
pub(crate) mod query;
pub(crate) mod quota;
pub mod server;
pub(crate) mod view;
