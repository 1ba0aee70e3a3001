//! The `playground` binary: the demo, a cluster to try things by hand, and what tests need as a process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use codex_k8s_tests::binaries::{self, Binaries};
use codex_k8s_tests::{bench, cluster, demo, image, node, postgres::Programs, supervisor};

/// A guarded control plane on this machine's loopback, to look at and to try.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job on a real control plane, and clean up
    Demo,
    /// Leave a guarded control plane running in the background
    Up {
        /// Where its kubeconfigs are written
        #[arg(long, default_value = "target/cluster")]
        dir: PathBuf,
    },
    /// End the control plane that `up` left running
    Down {
        /// Where its kubeconfigs were written
        #[arg(long, default_value = "target/cluster")]
        dir: PathBuf,
    },
    /// Measure against the floor
    Bench {
        /// What is measured; everything without one
        sections: Vec<bench::Section>,
    },
    /// Serve the floor of the benchmarks
    #[command(hide = true)]
    Echo(bench::echo::Args),
    /// Fill the cache with the programs of the control plane and of PostgreSQL
    Build,
    /// Run the program's own command line
    #[command(disable_help_flag = true)]
    Guard {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Hold a guarded control plane until SIGTERM
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Pack the image: an OCI archive, with no daemon
    Image(image::Args),
    /// Keep the namespaces of a node until standard input ends
    #[command(hide = true)]
    KeepNode {
        /// What goes with them
        folder: PathBuf,
    },
    /// Start what standard input says and end it with that
    #[command(hide = true)]
    Supervise {
        /// What goes with it
        folder: Option<PathBuf>,
    },
}

/// The program's own: what it costs must not depend on which binary it is measured in.
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
            .and_then(|_| binaries::definitions())
            .and_then(|_| Programs::find())
            .map(drop),
        Command::Image(args) => args.run(),
        Command::KeepNode { folder } => node::keeper::keep(&folder),
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
