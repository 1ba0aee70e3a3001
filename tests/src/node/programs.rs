//! The programs of a node, besides those of the control plane.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::binaries::{NodeBinaries, tell};
use crate::debian::{self, Apt};

/// The paths of the programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) kubernetes: PathBuf,
    pub(super) containers: PathBuf,
    pub(super) images: PathBuf,
    /// The folder of runc and nftables from Debian packages.
    root: PathBuf,
}

impl Programs {
    /// Finds the programs in the project's cache, which is filled if needed.
    ///
    /// # Errors
    /// Returns an error if the programs cannot be built or unpacked.
    pub(super) fn find() -> anyhow::Result<Self> {
        let NodeBinaries { kubernetes, containers, images } = NodeBinaries::find()?;
        Ok(Self { kubernetes, containers, images, root: debian::retained("node/debian", found, unpack)? })
    }

    pub(super) fn runc(&self) -> String {
        self.root.join("usr/sbin/runc").display().to_string()
    }

    /// Returns the `PATH` of the programs.
    pub(super) fn search_path(&self) -> String {
        let own = [self.containers.clone(), self.root.join("usr/sbin"), self.root.join("usr/bin")];
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", own.map(|folder| folder.display().to_string()).join(":"))
    }

    /// Returns the environment variables of the programs.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        vec![("PATH".to_owned(), self.search_path()), debian::library_path(&debian::libraries(&self.root))]
    }
}

/// Returns the folder of the unpacked Debian packages, if it is complete.
fn found(root: &Path) -> Option<PathBuf> {
    let programs = root.join("usr/sbin");
    ["runc", "nft"].iter().all(|program| programs.join(program).is_file()).then(|| root.to_owned())
}

/// Unpacks the programs and their dependencies, regardless of the packages that the machine has installed.
fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(debian::is_here(), "a node needs runc and nft, and this is no Debian to unpack them from");
    tell("unpacking runc and nftables from Debian's packages, once: seconds");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let own = ["runc", "nftables", "libnftables1", "libnftnl11"].map(str::to_owned);
    let wanted: BTreeSet<String> = apt.lacking(&["runc", "nftables"])?.into_iter().chain(own).collect();
    apt.unpack(&wanted, cache, root)
}
