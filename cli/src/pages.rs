//! Completion scripts and man pages, generated from the command line definition.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory, ValueEnum};

use crate::output;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// Shell to generate the script for
    shell: Shell,
}

/// Write the man pages, one per command
#[derive(Debug, clap::Args)]
pub(super) struct Manpages {
    /// Directory to write to, such as ~/.local/share/man/man1; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A shell with completion scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

impl Completions {
    /// Prints the script for a program.
    pub(super) fn run<P: CommandFactory>(&self) -> anyhow::Result<()> {
        output::print(&script(self.shell, P::command())?)
    }
}

impl Manpages {
    /// Writes the pages of a program.
    pub(super) fn run<P: CommandFactory>(&self) -> anyhow::Result<()> {
        write_pages(P::command(), &self.folder)
    }
}

/// Returns the completion script of a command for a shell.
pub fn script(shell: Shell, mut command: Command) -> anyhow::Result<String> {
    let name = command.get_name().to_owned();
    let mut generate = |shell: clap_complete::Shell, name: &str| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut script);
        String::from_utf8(script)
    };
    Ok(match shell {
        Shell::Bash => {
            // The library's script completes only the first word if the program's name contains a hyphen.
            let plain = name.replace('-', "_");
            let script = generate(clap_complete::Shell::Bash, &plain)?;
            script.replace(&format!("-o default {plain}\n"), &format!("-o default {name}\n"))
        }
        Shell::Zsh => generate(clap_complete::Shell::Zsh, &name)?,
        Shell::Fish => generate(clap_complete::Shell::Fish, &name)?,
    })
}

/// Writes the man pages of a command and its subcommands to a directory, which is created if it does not exist.
pub fn write_pages(command: Command, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("failed to write man pages to {}", folder.display()))
}
