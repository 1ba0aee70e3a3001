//! Examples of the rules about workloads, one file per file of rules.

pub(super) mod bounds;
pub(super) mod environment;
pub(super) mod gate;
pub(super) mod host;
pub(super) mod identity;
pub(super) mod pod_security;
pub(super) mod quota;
pub(super) mod reservation;
pub(super) mod resources;
pub(super) mod retries;
pub(super) mod scheduling;
pub(super) mod service_account;
pub(super) mod size;
pub(super) mod status;
pub(super) mod width;
