//! Certificates that renew themselves, on a real control plane: requests succeed while authority and leaf change, the
//! reconciler dies at each of its steps, and humans delete, replace and corrupt its Secrets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

mod harness;
mod readiness;
mod rotation;
mod vandals;
mod writers;
