//! The command line.

mod catalogue;
mod certificate;
mod check;
mod input;
mod policy;
mod purge;
mod reconcile;
mod registration;
mod render;
mod review;
mod serve;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use codex_k8s_shared::cli::{output, pages};
use kube::Client;

/// Admission webhook for run namespaces and agent Jobs.
#[derive(Debug, Parser)]
#[command(name = "codex-k8s-webhook", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve admission reviews over HTTPS
    Serve(serve::Args),
    /// Put the baseline into every managed namespace, and heal it
    Reconcile(reconcile::Args),
    /// Tell what the webhook would say about files, without a cluster
    Check(check::Args),
    /// Print or create the Namespace and the Job of a run, and follow the Job
    Render(render::Args),
    /// Explain the rules: one by its id, or all in a table
    Explain(catalogue::Args),
    /// Print, check, compare and describe policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Print the webhook configurations, or apply them and wait until they are enforced
    Registration(registration::Args),
    /// Delete what the programs have made in their own namespace, after they are uninstalled
    Purge(purge::Args),
    /// Make a certificate authority and a serving certificate
    Certificate(certificate::Args),
    /// Print what completes the command line in a shell
    Completions(pages::Completions),
    /// Write the man pages, one for each command
    Manpages(pages::Manpages),
}

impl Cli {
    /// Runs the command. Errors go to standard error, with their causes; the exit code is 1 then.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(args) => args.run(),
            Command::Reconcile(args) => args.run(),
            // Their exit codes tell more.
            Command::Check(args) => return args.run(),
            Command::Render(args) => return args.run(),
            Command::Explain(args) => args.run(),
            Command::Policy(command) => match command.run() {
                Ok(code) => return code,
                Err(error) => Err(error),
            },
            Command::Registration(args) => args.run(),
            Command::Purge(args) => args.run(),
            Command::Certificate(args) => args.run(),
            Command::Completions(args) => args.run::<Self>(),
            Command::Manpages(args) => args.run::<Self>(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                output::complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn client() -> anyhow::Result<Client> {
    Client::try_default().await.context("failed to find a cluster to talk to")
}
