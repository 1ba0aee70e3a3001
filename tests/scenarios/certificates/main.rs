//! Certificates that renew themselves, on a real control plane: requests go through while authority and leaf change,
//! the keeper dies at each of its steps, and humans delete, replace and bend what it keeps.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

mod harness;
mod readiness;
mod rotation;
mod vandals;
