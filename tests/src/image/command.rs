//! `playground image`: builds the image.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Parser;

use super::{Contents, guard};
use crate::binaries::tell;

/// The maximum size of the image in bytes, because a node pulls it when the cluster needs it.
const LIMIT: usize = 15 << 20;

/// The name and tag of the image in a registry.
pub(crate) const REFERENCE: &str = concat!("ghcr.io/codex-k8s/codex-k8s-guard:", env!("CARGO_PKG_VERSION"));

/// Build the image as an OCI archive, without a daemon
#[derive(Debug, Parser)]
pub struct Args {
    /// Statically linked program codex-k8s-guard
    #[arg(long)]
    program: PathBuf,
    /// Software bill of materials of the program (CycloneDX)
    #[arg(long)]
    bom: PathBuf,
    /// Name and tag of the image
    #[arg(long, default_value = REFERENCE)]
    reference: String,
    /// File to write the archive to
    #[arg(long, required_unless_present = "root")]
    out: Option<PathBuf>,
    /// Directory to write the image to as files, for another builder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Args {
    /// Builds the image.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written, or the archive is too large.
    pub fn run(self) -> anyhow::Result<()> {
        let contents = Contents { program: self.program, bom: self.bom };
        let image = guard(&contents, &self.reference)?;
        if let Some(root) = &self.root {
            image.unpack(root)?;
        }
        if let Some(out) = &self.out {
            let archive = image.archive()?;
            fs::write(out, &archive).with_context(|| format!("failed to write {}", out.display()))?;
            tell(&format!("{}: {} as {}", out.display(), size(archive.len()), self.reference));
            within_limit(&archive)?;
        }
        Ok(())
    }
}

/// Returns an error if the archive of an image for one architecture is too large.
pub(crate) fn within_limit(archive: &[u8]) -> anyhow::Result<()> {
    ensure!(archive.len() <= LIMIT, "the archive must have {} at most", size(LIMIT));
    Ok(())
}

/// Formats a size in MiB with two digits.
pub(crate) fn size(bytes: usize) -> String {
    let hundredths = (bytes * 100) >> 20;
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}
