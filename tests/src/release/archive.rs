//! Compressed archives without times and owners.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use codex_k8s_guard::NAME;
use flate2::read::GzDecoder;

use super::Platform;
use crate::image::{Entry, append, compressed, read};

/// The completion scripts: the shell, and the file name that the shell looks for.
const SCRIPTS: [(&str, &str); 3] =
    [("bash", "codex-k8s-guard.bash"), ("zsh", "_codex-k8s-guard"), ("fish", "codex-k8s-guard.fish")];

/// The man pages and the completion scripts, by their paths in an archive.
#[derive(Debug, Clone, Default)]
pub struct Pages(BTreeMap<String, Vec<u8>>);

impl Pages {
    /// Has the program in this one generate them.
    ///
    /// # Errors
    /// Returns an error if it fails, or its output cannot be read.
    pub fn generate(playground: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let run = |args: &[&str]| -> anyhow::Result<Vec<u8>> {
            let ran = Command::new(playground).arg("guard").args(args).current_dir(folder.path()).output()?;
            let problem = String::from_utf8_lossy(&ran.stderr);
            ensure!(ran.status.success(), "failed to run {NAME} {}: {problem}", args.join(" "));
            Ok(ran.stdout)
        };
        let mut pages = BTreeMap::new();
        for (shell, file) in SCRIPTS {
            pages.insert(format!("completions/{file}"), run(&["completions", shell])?);
        }
        run(&["manpages", "man1"])?;
        for page in fs::read_dir(folder.path().join("man1"))? {
            let page = page?;
            let name = page.file_name().into_string().ok().context("a man page has a strange name")?;
            pages.insert(format!("man/man1/{name}"), read(&page.path())?);
        }
        Ok(Self(pages))
    }
}

/// Returns the archive of a program for a platform: the program, the pages, and other files by their names. It has no
/// links, because krew refuses an archive that has one.
///
/// # Errors
/// Returns an error if a path is too long for an archive.
pub fn of_program(
    platform: Platform,
    program: &[u8],
    pages: &Pages,
    others: &[(&str, &[u8])],
) -> anyhow::Result<Vec<u8>> {
    let folder = platform.folder();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, &Entry::Folder("", 0o755), &folder)?;
    append(&mut archive, &Entry::File("", 0o755, program.to_vec()), &format!("{folder}/{NAME}"))?;
    let others = others.iter().map(|(name, bytes)| (*name, *bytes));
    let pages = pages.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    for (path, bytes) in others.chain(pages) {
        append(&mut archive, &Entry::File("", 0o644, bytes.to_vec()), &format!("{folder}/{path}"))?;
    }
    compressed(&archive.into_inner()?)
}

/// Returns a compressed archive of another program without its times, because helm writes the present one.
///
/// # Errors
/// Returns an error if the archive cannot be read.
pub fn repacked(archive: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut unpacked)?;
    let mut again = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(unpacked.as_slice()).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        append(&mut again, &Entry::File("", 0o644, bytes), &path)?;
    }
    compressed(&again.into_inner()?)
}
