//! The model of a run namespace: labels, names, lease, baseline, run and policy. No HTTP, no Kubernetes client, no
//! clock. In addition to these pure modules, the feature `audit-stores` enables the stores of audit rows and the
//! platform's runs, and `telemetry` enables logs and traces.
//!
//! These types are the platform's contract. *contract.md* in these docs is the project's description of what the
//! platform writes and expects. **A** is the platform's earlier release, whose values are the defaults; **B** is the
//! later one, whose requests are admitted as well.

pub mod audit;
pub mod baseline;
#[cfg(feature = "metrics")]
pub mod build_info;
pub mod cleanup;
#[cfg(feature = "audit-stores")]
pub mod database;
#[cfg(feature = "kube")]
pub mod errors;
pub mod hold;
pub mod identity;
pub mod install;
pub mod keys;
pub mod last_sweep;
pub mod lease;
pub mod marked;
pub mod names;
#[cfg(feature = "kube")]
pub mod paged;
pub mod permissions;
pub mod policy;
pub mod quota;
pub mod run;
#[cfg(feature = "audit-stores")]
pub mod runs;
pub mod sanitize;
#[cfg(feature = "telemetry")]
pub mod telemetry;
