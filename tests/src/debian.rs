//! Programs out of Debian's packages, unpacked into the cache: it takes no root, and nothing of the machine is changed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::binaries::cache;

/// Whether this machine has Debian's packages at all.
pub(crate) fn is_here() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok()
}

/// Where libraries lie below a folder into which packages were unpacked.
pub(crate) fn libraries(root: &Path) -> [PathBuf; 2] {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    [root.join("usr/lib").join(&triplet), root.join("lib").join(&triplet)]
}

/// The variable by which a program finds libraries in these folders.
pub(crate) fn library_path(folders: &[PathBuf]) -> (String, String) {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    ("LD_LIBRARY_PATH".to_owned(), folders.join(":"))
}

/// What is found below a folder of the project's cache that packages are unpacked into, with another folder beside it
/// for whatever that takes; unpacked if it is not there yet.
///
/// # Errors
/// If nothing can be unpacked, or nothing is found even then.
pub(crate) fn retained<T>(
    name: &str,
    find: impl Fn(&Path) -> Option<T>,
    unpack: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let cache = cache()?.join(name);
    fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
    // Test binaries that start at once unpack once.
    let lock = File::create(cache.join(".lock"))?;
    lock.lock()?;
    let root = cache.join("root");
    if let Some(found) = find(&root) {
        return Ok(found);
    }
    unpack(&cache, &root)?;
    find(&root)
        .with_context(|| format!("what was unpacked of Debian's packages for {name} does not run here"))
}

/// An apt whose lists and downloads lie in a folder of ours.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Knows which packages there are today.
    ///
    /// # Errors
    /// If their lists cannot be fetched.
    pub(crate) fn in_folder(folder: PathBuf) -> anyhow::Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "downloads"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let apt = Self { folder };
        apt.run("apt-get", &["update"])?;
        Ok(apt)
    }

    /// The packages that an installation would bring, without upgrades of others.
    ///
    /// # Errors
    /// If there is no such package.
    pub(crate) fn lacking(&self, packages: &[&str]) -> anyhow::Result<BTreeSet<String>> {
        let simulated = ["install", "--simulate", "--no-install-recommends"];
        Ok(wanted(&self.run("apt-get", &[&simulated, packages].concat())?))
    }

    /// Unpacks packages below a folder, which is there only when it is whole; what was downloaded goes.
    ///
    /// # Errors
    /// If they cannot be downloaded or unpacked.
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
            // What is not there need not go.
            let _ = fs::remove_dir_all(unfinished.path().join(rest));
        }
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::rename(unfinished.keep(), root).context("failed to move what was unpacked into the cache")?;
        fs::remove_dir_all(&self.folder).context("failed to remove the downloaded packages")
    }

    fn downloads(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// Runs one of apt's programs; its output.
    ///
    /// # Errors
    /// If it fails, with what it complains of.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        let ran = Command::new(program)
            .current_dir(self.downloads())
            .env("LC_ALL", "C")
            .arg("--quiet")
            .arg(option("Dir::State::lists", &self.folder.join("lists")))
            .arg(option("Dir::Cache", &self.folder.join("cache")))
            // Neither needs another user's rights.
            .args(["-oDebug::NoLocking=1", "-oAPT::Sandbox::User=root"])
            .args(args)
            .output()
            .with_context(|| format!("failed to run {program}"))?;
        let (told, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "{program} {} failed: {}", args.join(" "), complained.trim());
        Ok(told.into_owned())
    }
}

/// What is new of what apt would install.
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
