//! `codex-k8s-webhook` and `codex-k8s-gc` in one file: it is the program by whose name it is called, or that its first
//! argument names.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WEBHOOK: &str = "codex-k8s-webhook";
const COLLECTOR: &str = "codex-k8s-gc";

fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

fn run(mut arguments: Vec<OsString>) -> ExitCode {
    if called(&arguments).is_none() && !arguments.is_empty() {
        arguments.remove(0);
    }
    match called(&arguments) {
        Some(WEBHOOK) => codex_k8s_webhook::cli::Cli::parse_from(arguments).run(),
        Some(COLLECTOR) => codex_k8s_gc::cli::Cli::parse_from(arguments).run(),
        _ => {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "error: this is {WEBHOOK} and {COLLECTOR}: call it by one of these names, or name one first"
            );
            ExitCode::from(2)
        }
    }
}

/// The program that the first of these arguments names.
fn called(arguments: &[OsString]) -> Option<&'static str> {
    let name = Path::new(arguments.first()?).file_name()?;
    [WEBHOOK, COLLECTOR].into_iter().find(|program| name == *program)
}
