//! `playground image`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Parser;

use super::{Contents, guard};
use crate::binaries::tell;

/// What the image may weigh, in bytes: it is pulled by every node, when the cluster is in need of it.
const LIMIT: usize = 15 << 20;

/// How the image is packed.
#[derive(Debug, Parser)]
pub struct Args {
    /// Both programs in one file, linked statically
    #[arg(long)]
    program: PathBuf,
    /// The file that says what they are made of (CycloneDX)
    #[arg(long)]
    bom: PathBuf,
    /// What the image is called
    #[arg(long, default_value = concat!("ghcr.io/codex-k8s/codex-k8s-guard:", env!("CARGO_PKG_VERSION")))]
    reference: String,
    /// Where the archive is written
    #[arg(long, required_unless_present = "root")]
    out: Option<PathBuf>,
    /// The folder into which the image is written as files, for another builder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Args {
    /// Packs it.
    ///
    /// # Errors
    /// If a file cannot be read or written, or the archive is larger than it may be.
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
            ensure!(archive.len() <= LIMIT, "the archive is to be {} at most", size(LIMIT));
        }
        Ok(())
    }
}

/// In MiB, with two digits.
fn size(bytes: usize) -> String {
    let hundredths = bytes * 100 >> 20;
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}
