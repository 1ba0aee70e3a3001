//! The program in clusters with other networks: IPv6 alone, and proxies between it and the API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod ipv6;
mod proxies;

use std::path::Path;

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}
