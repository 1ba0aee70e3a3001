//! What a node is made of, beside the control plane.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::binaries::{NodeBinaries, cache, tell};
use crate::debian::{self, Apt};

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) kubernetes: PathBuf,
    pub(super) containers: PathBuf,
    pub(super) images: PathBuf,
    /// What was unpacked of Debian's runc and nftables.
    root: PathBuf,
}

impl Programs {
    /// Finds them in the project's cache, which is filled if need be.
    ///
    /// # Errors
    /// If they cannot be built or unpacked.
    pub(super) fn find() -> anyhow::Result<Self> {
        let NodeBinaries { kubernetes, containers, images } = NodeBinaries::find()?;
        Ok(Self { kubernetes, containers, images, root: unpacked()? })
    }

    pub(super) fn runc(&self) -> String {
        self.root.join("usr/sbin/runc").display().to_string()
    }

    /// Where the programs look for each other.
    pub(super) fn search_path(&self) -> String {
        let own = [self.containers.clone(), self.root.join("usr/sbin"), self.root.join("usr/bin")];
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", own.map(|folder| folder.display().to_string()).join(":"))
    }

    /// What the programs need of variables.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let libraries = self.root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        vec![
            ("PATH".to_owned(), self.search_path()),
            ("LD_LIBRARY_PATH".to_owned(), libraries.display().to_string()),
        ]
    }
}

fn works(root: &Path) -> bool {
    ["runc", "nft"].iter().all(|program| root.join("usr/sbin").join(program).is_file())
}

/// The folder of what Debian's packages have; what the machine has installed of it does not matter.
fn unpacked() -> anyhow::Result<PathBuf> {
    let cache = cache()?.join("node/debian");
    fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
    // Test binaries that start at once unpack once.
    let lock = File::create(cache.join(".lock"))?;
    lock.lock()?;
    let root = cache.join("root");
    if works(&root) {
        return Ok(root);
    }
    ensure!(debian::is_here(), "a node needs runc and nft, and this is no Debian to unpack them from");
    tell("unpacking runc and nftables from Debian's packages, once: seconds");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let own = ["runc", "nftables", "libnftables1", "libnftnl11"].map(str::to_owned);
    let wanted: BTreeSet<String> = apt.lacking(&["runc", "nftables"])?.into_iter().chain(own).collect();
    apt.unpack(&wanted, &cache, &root)?;
    ensure!(works(&root), "Debian's packages have no runc and nft where they are looked for");
    Ok(root)
}
