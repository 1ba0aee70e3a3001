//! Admission webhook for run namespaces and agent Jobs.

pub mod engine;
pub mod metrics;
pub mod namespaces;
pub mod review;
pub mod rules;
