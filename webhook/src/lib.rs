//! Admission webhook for run namespaces and agent Jobs.

pub mod baseline;
pub mod check;
pub(crate) mod coalesce;
pub mod created;
pub mod decision;
pub mod diff;
pub mod engine;
pub mod kubernetes;
pub mod lint;
pub mod metrics;
pub mod namespaces;
pub mod reconcile;
pub(crate) mod registered;
pub mod registration;
pub mod render;
pub mod review;
pub mod rules;
pub mod server;
pub mod uninstall;
