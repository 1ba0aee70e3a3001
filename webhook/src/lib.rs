//! Admission webhook for run namespaces and agent Jobs.

pub mod review;
pub mod rules;
