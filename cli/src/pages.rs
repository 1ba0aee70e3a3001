//! Man pages, generated from the command line definition.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory};

/// Write the man pages, one per command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  codex-k8s-guard manpages man1")]
pub(super) struct Manpages {
    /// Directory to write to, such as ~/.local/share/man/man1; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Manpages {
    /// Writes the pages of a program.
    pub(super) fn run<P: CommandFactory>(&self) -> anyhow::Result<()> {
        write_pages(P::command(), &self.folder)
    }
}

/// Writes the man pages of a command and its subcommands to a directory, which is created if it does not exist.
pub fn write_pages(command: Command, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("failed to write man pages to {}", folder.display()))
}
