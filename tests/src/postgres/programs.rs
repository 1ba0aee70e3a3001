//! PostgreSQL's programs: found on this machine, or unpacked from Debian's packages into the cache. Neither needs root,
//! and nothing of the machine is changed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::binaries::tell;
use crate::debian::{self, Apt};

/// The first version that the stores are made for.
const OLDEST: u32 = 15;
/// Where to find the programs; `own` for those of the cache, whatever the machine has.
const VARIABLE: &str = "CODEX_K8S_GUARD_POSTGRES";

/// A folder with `initdb`, `postgres` and `psql` in it.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    /// What was unpacked: the programs find their libraries in it.
    root: Option<PathBuf>,
}

impl Programs {
    /// Finds PostgreSQL: in `CODEX_K8S_GUARD_POSTGRES`, on the PATH, where Debian puts it, else in the project's cache,
    /// which is filled if need be.
    ///
    /// # Errors
    /// If the variable names no PostgreSQL of version 15 or later, or none can be had.
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

    fn of_cache() -> anyhow::Result<Self> {
        debian::retained("postgresql", Self::unpacked, unpack)
    }

    /// The programs below a folder into which packages were unpacked.
    pub(super) fn unpacked(root: &Path) -> Option<Self> {
        let folders = folders_of(&root.join("usr/lib/postgresql")).into_iter();
        folders.map(|folder| Self { folder, root: Some(root.to_owned()) }).find(Self::works)
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// The folder that everything lies in, if it was unpacked into one.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The variables that the programs need.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let Some(root) = &self.root else { return Vec::new() };
        vec![debian::library_path(&debian::libraries(root))]
    }

    fn works(&self) -> bool {
        let told = Command::new(self.path("initdb")).arg("--version").envs(self.env()).output();
        let told =
            told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let all = ["postgres", "psql"].iter().all(|program| self.path(program).is_file());
        all && version(&told).is_some_and(|version| version >= OLDEST)
    }
}

/// The major version of `initdb (PostgreSQL) 15.18 (Debian ...)`.
fn version(told: &str) -> Option<u32> {
    told.split(") ").nth(1)?.split(['.', ' ', '\n']).next()?.parse().ok()
}

/// What this machine has, the PATH's first, then the latest.
fn installed() -> Vec<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link on the PATH leads to the folder that has the other programs too.
    let linked = std::env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
    let linked = linked.filter_map(|program| program.parent().map(Path::to_owned));
    let folders = linked.chain(folders_of(Path::new("/usr/lib/postgresql")));
    folders.map(|folder| Programs { folder, root: None }).collect()
}

/// The folders of programs below a folder of versions, the latest first.
fn folders_of(versions: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(versions).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// Unpacks PostgreSQL and the libraries that this machine lacks.
fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(
        debian::is_here(),
        "the tests need a PostgreSQL {OLDEST} or later, and this is no Debian to unpack one from; install it, or point \
         {VARIABLE} at its folder of programs"
    );
    tell("unpacking PostgreSQL from Debian's packages, once: about a minute");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let mut wanted = apt.lacking(&["postgresql"])?;
    // The compiler that PostgreSQL loads for long queries is larger than all else.
    wanted.retain(|name| !name.starts_with("libllvm"));
    wanted.extend(servers(&apt)?);
    apt.unpack(&wanted, cache, root)
}

/// The packages of the programs themselves: the machine may have them installed where they are not looked for.
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
