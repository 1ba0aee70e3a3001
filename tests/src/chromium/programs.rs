//! The program Chromium: found on this machine, or unpacked from Debian packages into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::binaries::tell;
use crate::debian::{self, Apt};

/// The variable with the path of the program.
const VARIABLE: &str = "CODEX_K8S_GUARD_CHROMIUM";
/// The possible names of the program.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A Chromium that runs on this machine.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) file: PathBuf,
    /// The environment variables that it needs.
    pub(super) env: Vec<(String, String)>,
}

impl Program {
    /// Finds Chromium: in `CODEX_K8S_GUARD_CHROMIUM`, on the PATH, otherwise in the project's cache, which is filled if
    /// needed.
    pub(super) fn find() -> anyhow::Result<Self> {
        if let Some(file) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            let named = Self { file: file.into(), env: Vec::new() };
            ensure!(named.works(), "{VARIABLE} names no Chromium; unset it");
            return Ok(named);
        }
        match installed().find(Self::works) {
            Some(found) => Ok(found),
            None => debian::retained("chromium", Self::unpacked, unpack),
        }
    }

    fn unpacked(root: &Path) -> Option<Self> {
        let [usual, not_ready] = debian::libraries(root);
        let of_sound = usual.join("pulseaudio");
        let mut env = vec![debian::library_path(&[usual, not_ready, of_sound])];
        if root.join("etc/fonts/fonts.conf").exists() {
            env.push(("FONTCONFIG_SYSROOT".to_owned(), root.display().to_string()));
        }
        let found = Self { file: root.join("usr/lib/chromium/chromium"), env };
        found.works().then_some(found)
    }

    fn works(&self) -> bool {
        let told = Command::new(&self.file).arg("--version").envs(self.env.iter().cloned()).output();
        told.is_ok_and(|told| told.status.success())
    }
}

fn installed() -> impl Iterator<Item = Program> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    NAMES
        .into_iter()
        .flat_map(move |name| folders.clone().into_iter().map(move |folder| folder.join(name)))
        .filter(|file| file.is_file())
        .map(|file| Program { file, env: Vec::new() })
}

/// Unpacks Chromium and the libraries that this machine lacks.
fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(
        debian::is_here(),
        "the test of the page needs Chromium, and this is no Debian to unpack one from; install it, or point {VARIABLE} at it"
    );
    tell("unpacking Chromium from Debian's packages, once: about a minute");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let mut wanted = apt.lacking(&["chromium"])?;
    // The machine may have them installed in other places.
    wanted.extend(["chromium", "chromium-common"].map(str::to_owned));
    apt.unpack(&wanted, cache, root)
}
