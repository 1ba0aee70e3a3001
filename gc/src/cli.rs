//! The command line.

mod audit;
mod connect;
mod daemon;
mod exit;
mod explain;
mod output;
mod page;
mod progress;
mod schedule;
mod sweep;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use codex_k8s_shared::cli::pages;

use exit::{Exit, OrExit as _};

/// Garbage collector of expired run namespaces.
#[derive(Debug, Parser)]
#[command(name = "codex-k8s-gc", version, propagate_version = true, after_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Delete the expired run namespaces, once
    Sweep(sweep::Args),
    /// Sweep on a schedule, and serve metrics and a page
    Daemon(daemon::Args),
    /// Tell why a namespace would go or stay, now, and what was decided about it before
    Explain(explain::Args),
    /// List and prune audit rows
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show when a schedule fires next, and what it says in words
    Schedule(schedule::Args),
    /// Print what completes the command line in a shell
    Completions(pages::Completions),
    /// Write the man pages, one for each command
    Manpages(pages::Manpages),
}

impl Cli {
    /// Runs the command. Errors go to standard error, with their causes; the exit codes stand in the help.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Sweep(args) => args.run(),
            Command::Daemon(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Audit(command) => command.run(),
            Command::Schedule(args) => args.run(),
            Command::Completions(args) => args.run::<Self>().map(|()| Exit::Done).or_exit(Exit::SomeFailed),
            Command::Manpages(args) => args.run::<Self>().map(|()| Exit::Done).or_exit(Exit::SomeFailed),
        };
        match done {
            Ok(exit) => exit.into(),
            Err(failure) if output::is_closed_pipe(&failure.error) => Exit::Done.into(),
            Err(failure) => {
                output::complain(&failure.error);
                failure.exit.into()
            }
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
