//! What a run namespace is: labels, names, lease, baseline, run and policy. No HTTP, no Kubernetes client, no clock.
//! Beside these pure layers, behind the feature `audit-stores`, stand the stores of audit rows and the platform's runs;
//! behind `telemetry`, the logs and traces of the program.
//!
//! The platform's contract as types. Where docs cite *contract.md*, they mean the project's description of what
//! the platform writes and expects; **A** is its earlier state, whose values are our defaults, **B** its later
//! one, whose traffic passes as well.

pub mod audit;
pub mod baseline;
pub mod cleanup;
#[cfg(feature = "audit-stores")]
pub mod database;
pub mod hold;
pub mod identity;
pub mod install;
pub mod keys;
pub mod last_sweep;
pub mod lease;
pub mod names;
pub mod permissions;
pub mod policy;
pub mod quota;
pub mod run;
#[cfg(feature = "audit-stores")]
pub mod runs;
pub mod sanitize;
#[cfg(feature = "telemetry")]
pub mod telemetry;
