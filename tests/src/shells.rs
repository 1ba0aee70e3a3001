//! The shells zsh and fish, from Debian's packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::binaries::tell;
use crate::debian::{self, Apt};

/// The packages: those that a machine may have in part are unpacked wholly, since a shell looks for its own files next
/// to itself.
const PACKAGES: [&str; 4] = ["zsh", "zsh-common", "fish", "fish-common"];

/// The shells, below a folder that packages were unpacked into.
#[derive(Debug)]
pub struct Shells(PathBuf);

fn shells(root: &Path) -> Option<Shells> {
    let shells = Shells(root.to_owned());
    let is_there = |mut shell: Command| shell.arg("--version").output().is_ok_and(|ran| ran.status.success());
    (is_there(shells.zsh("")) && is_there(shells.fish())).then_some(shells)
}

fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(
        debian::is_here(),
        "the tests of completions need zsh and fish, and this is no Debian to unpack them from"
    );
    tell("unpacking zsh and fish from Debian's packages, once");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let mut wanted = apt.lacking(&PACKAGES)?;
    wanted.extend(PACKAGES.map(str::to_owned));
    apt.unpack(&wanted, cache, root)
}

impl Shells {
    /// Finds the shells, and unpacks them the first time.
    ///
    /// # Errors
    /// Returns an error if they cannot be unpacked.
    pub fn find() -> anyhow::Result<Self> {
        debian::retained("shells", shells, unpack)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        let (name, value) = debian::library_path(&debian::libraries(&self.0));
        command.env(name, value);
        command
    }

    /// Returns a zsh without configuration, with its completion system, that runs a script.
    pub fn zsh(&self, script: &str) -> Command {
        let folder = |name: &str| self.0.join(name).display().to_string();
        let modules =
            debian::libraries(&self.0).map(|libraries| format!("{}/zsh/*(N/)", libraries.display()));
        let functions = folder("usr/share/zsh/functions");
        let begin = format!(
            "module_path=({}); fpath=({functions} {functions}/**/*(N/)); autoload -Uz compinit; compinit -u -D",
            modules.join(" ")
        );
        let mut zsh = self.command("bin/zsh");
        zsh.arg("-f");
        if !script.is_empty() {
            zsh.arg("-c").arg(format!("setopt extended_glob\n{begin}\n{script}"));
        }
        zsh
    }

    /// Returns a fish without configuration.
    pub fn fish(&self) -> Command {
        let mut fish = self.command("usr/bin/fish");
        fish.arg("--no-config");
        fish
    }
}
