//! Every rule on a real API server: one case admitted, one refused, through every way a request can come in.

mod agents;
mod harness;
mod leases;
mod namespaces;
mod outage;
mod platform;
mod workloads;
