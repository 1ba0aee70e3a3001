//! The `playground` binary: the demo, a cluster for manual experiments, and helper processes of tests.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use codex_k8s_tests::binaries::{self, Binaries};
use codex_k8s_tests::{
    bench, cluster, demo, image, node, pictures, postgres::Programs, release, supervisor, versions,
};

/// Run a guarded control plane on the loopback interface of this machine
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main features on a real control plane, and clean up
    Demo,
    /// Start a guarded control plane in the background
    Up {
        /// Directory to write kubeconfigs to
        #[arg(long, default_value = "target/cluster")]
        dir: PathBuf,
    },
    /// Stop the control plane that `up` started
    Down {
        /// Directory of the kubeconfigs
        #[arg(long, default_value = "target/cluster")]
        dir: PathBuf,
    },
    /// Run the benchmarks
    Bench {
        /// Sections to run (default: all)
        sections: Vec<bench::Section>,
    },
    /// Serve the floor of the benchmarks
    #[command(hide = true)]
    Echo(bench::echo::Args),
    /// Build the programs of the control plane and of PostgreSQL into the cache
    Build,
    /// Run the suites about the API server on other versions of Kubernetes
    Versions(versions::Args),
    /// Run codex-k8s-guard
    #[command(disable_help_flag = true)]
    Guard {
        /// Arguments of codex-k8s-guard
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Keep a guarded control plane running until SIGTERM
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Build the image as an OCI archive, without a daemon
    Image(image::Args),
    /// Record the demo and take a screenshot of the page
    Pictures(pictures::Args),
    /// Pack the artefacts of a release
    Release(release::Args),
    /// Keep the namespaces of a node until standard input ends
    #[command(hide = true)]
    NodeNamespaces {
        /// Directory to remove at the end
        folder: PathBuf,
    },
    /// Start the programs from standard input, and end them when it ends
    #[command(hide = true)]
    Supervise {
        /// Directory to remove at the end
        folder: Option<PathBuf>,
    },
}

/// The allocator of codex-k8s-guard, so that measurements do not depend on the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let playground = std::env::current_exe().unwrap_or_default();
    let done = match Cli::parse().command {
        Command::Guard { args } => {
            let line = [OsString::from(codex_k8s_guard::NAME)].into_iter().chain(args);
            return codex_k8s_guard::Cli::parse_from(line).run();
        }
        Command::Demo => demo::run(&playground),
        Command::Up { dir } => cluster::up(&playground, &dir),
        Command::Down { dir } => cluster::down(&dir),
        Command::Bench { sections } => bench::run(&playground, &sections),
        Command::Echo(args) => args.run(),
        Command::Build => Binaries::find()
            .and_then(|_| binaries::helm())
            .and_then(|_| binaries::promtool())
            .and_then(|_| binaries::kubeconform())
            .and_then(|_| binaries::actionlint())
            .and_then(|_| binaries::krew())
            .and_then(|_| binaries::definitions())
            .and_then(|_| Programs::find())
            .map(drop),
        Command::Versions(args) => args.run(),
        Command::Image(args) => args.run(),
        Command::Pictures(args) => args.run(&playground),
        Command::Release(args) => args.run(&playground),
        Command::NodeNamespaces { folder } => node::linux_namespaces::run(&folder),
        Command::Hold { dir } => cluster::hold(&playground, &dir),
        Command::Supervise { folder } => supervisor::supervise(folder.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
