//! The `codex-k8s-guard` binary.

use std::process::ExitCode;

use codex_k8s_guard::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse_from(std::env::args_os()).run()
}
