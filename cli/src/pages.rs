//! Completion scripts and man pages, made of the command line itself.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory, ValueEnum};

use crate::output;

/// Print what completes the command line in a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the man pages, one for each command.
#[derive(Debug, clap::Args)]
pub(super) struct Manpages {
    /// The folder that they are written to, such as ~/.local/share/man/man1; it is made if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// Fish.
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

/// What completes a command line in a shell.
pub fn script(shell: Shell, mut command: Command) -> anyhow::Result<String> {
    let name = command.get_name().to_owned();
    let mut generate = |shell: clap_complete::Shell, name: &str| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut script);
        String::from_utf8(script)
    };
    Ok(match shell {
        Shell::Bash => {
            // Of a program with a hyphen in its name, the library's script completes the first word only.
            let plain = name.replace('-', "_");
            let script = generate(clap_complete::Shell::Bash, &plain)?;
            script.replace(&format!("-o default {plain}\n"), &format!("-o default {name}\n"))
        }
        Shell::Zsh => generate(clap_complete::Shell::Zsh, &name)?,
        Shell::Fish => generate(clap_complete::Shell::Fish, &name)?,
    })
}

/// Writes the man pages of a command and of those below it into a folder, which is made if it is missing.
pub fn write_pages(command: Command, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("failed to write man pages to {}", folder.display()))
}
