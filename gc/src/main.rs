//! The `codex-k8s-gc` binary.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    codex_k8s_gc::cli::Cli::parse().run()
}
