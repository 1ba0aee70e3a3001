//! Programs from Debian packages, unpacked into the cache without root and without changing the machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::binaries::cache;

/// True if this machine has apt.
pub(crate) fn is_here() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok()
}

/// Returns the folders of libraries below a folder that packages were unpacked into.
pub(crate) fn libraries(root: &Path) -> [PathBuf; 2] {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    [root.join("usr/lib").join(&triplet), root.join("lib").join(&triplet)]
}

/// Returns the environment variable with which a program finds libraries in these folders.
pub(crate) fn library_path(folders: &[PathBuf]) -> (String, String) {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    ("LD_LIBRARY_PATH".to_owned(), folders.join(":"))
}

/// Finds programs below a folder of the project's cache. If they are missing, `unpack` is called with the cache folder,
/// for temporary files, and the folder to unpack packages into.
///
/// # Errors
/// Returns an error if the packages cannot be unpacked, or the programs are not found even then.
pub(crate) fn retained<T>(
    name: &str,
    find: impl Fn(&Path) -> Option<T>,
    unpack: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let cache = cache()?.join(name);
    fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    // Several test binaries that start at the same time must unpack only once.
    let lock = File::create(cache.join(".lock"))?;
    lock.lock()?;
    let root = cache.join("root");
    if let Some(found) = find(&root) {
        return Ok(found);
    }
    unpack(&cache, &root)?;
    find(&root).with_context(|| format!("the programs from the Debian packages for {name} do not run here"))
}

/// An apt with its lists and downloads in a folder of ours.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Fetches the current package lists.
    ///
    /// # Errors
    /// Returns an error if the lists cannot be fetched.
    pub(crate) fn in_folder(folder: PathBuf) -> anyhow::Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "downloads"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let apt = Self { folder };
        apt.run("apt-get", &["update"])?;
        Ok(apt)
    }

    /// Returns the packages that an installation would add, without upgrades of others.
    ///
    /// # Errors
    /// Returns an error if a package does not exist.
    pub(crate) fn lacking(&self, packages: &[&str]) -> anyhow::Result<BTreeSet<String>> {
        let simulated = ["install", "--simulate", "--no-install-recommends"];
        Ok(wanted(&self.run("apt-get", &[&simulated, packages].concat())?))
    }

    /// Unpacks packages into a folder, which exists only once it is complete, and removes the downloads.
    ///
    /// # Errors
    /// Returns an error if the packages cannot be downloaded or unpacked.
    pub(crate) fn unpack(self, wanted: &BTreeSet<String>, cache: &Path, root: &Path) -> anyhow::Result<()> {
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        self.run("apt-get", &[&["download"], names.as_slice()].concat())?;
        let unfinished = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(cache)?;
        for package in fs::read_dir(self.downloads())? {
            let unpacked =
                Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(unfinished.path()).status()?;
            ensure!(unpacked.success(), "dpkg-deb failed: {unpacked}");
        }
        for rest in ["usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/perl"] {
            // The folder may not exist.
            let _ = fs::remove_dir_all(unfinished.path().join(rest));
        }
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::rename(unfinished.keep(), root).context("failed to move the unpacked packages into the cache")?;
        fs::remove_dir_all(&self.folder).context("failed to remove the downloaded packages")
    }

    fn downloads(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// Runs one of apt's programs and returns its output.
    ///
    /// # Errors
    /// Returns an error if it fails; with its standard error.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        let ran = Command::new(program)
            .current_dir(self.downloads())
            .env("LC_ALL", "C")
            .arg("--quiet")
            .arg(option("Dir::State::lists", &self.folder.join("lists")))
            .arg(option("Dir::Cache", &self.folder.join("cache")))
            // Avoids the need for the rights of another user.
            .args(["-oDebug::NoLocking=1", "-oAPT::Sandbox::User=root"])
            .args(args)
            .output()
            .with_context(|| format!("failed to run {program}"))?;
        let (told, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "{program} {} failed: {}", args.join(" "), complained.trim());
        Ok(told.into_owned())
    }
}

/// Parses the new packages from the output of a simulated installation.
fn wanted(simulated: &str) -> BTreeSet<String> {
    let names = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    let new = names.filter(|rest| !rest.split(' ').nth(1).is_some_and(|word| word.starts_with('[')));
    new.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_unpacked_and_what_is_there_is_left_alone() {
        let simulated = "Reading package lists...\nInst libpq5 (15.18-0+deb12u1 Debian:12 [amd64])\n\
            Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian:12 [amd64])\n\
            Inst postgresql-15 (15.18-0+deb12u1 Debian:12 [amd64])\nConf libpq5 (15.18-0+deb12u1 Debian:12 [amd64])\n";
        assert!(wanted(simulated).iter().eq(["libpq5", "postgresql-15"]), "{:?}", wanted(simulated));
    }
}
