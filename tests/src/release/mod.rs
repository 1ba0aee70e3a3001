//! The artefacts of a release: archives of the program, the image, the chart, bills of materials, checksums, a manifest
//! for krew, and the notes. The same sources and programs give the same bytes.

mod archive;
mod command;
mod krew;
mod notes;

use std::fmt::Write as _;

pub use archive::{Pages, of_program, repacked};
pub use command::Args;
pub use krew::manifest;
pub use notes::notes;

/// The version of the release, which is that of all crates.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A platform that a release has a program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, in Go's words, which krew and container images use.
    pub os: &'static str,
    /// The architecture, in the same words.
    pub arch: &'static str,
    /// The target of the Rust compiler.
    pub target: &'static str,
}

/// The platforms of a release.
pub const PLATFORMS: [Platform; 4] = [
    Platform { os: "linux", arch: "amd64", target: "x86_64-unknown-linux-gnu" },
    Platform { os: "linux", arch: "arm64", target: "aarch64-unknown-linux-gnu" },
    Platform { os: "darwin", arch: "amd64", target: "x86_64-apple-darwin" },
    Platform { os: "darwin", arch: "arm64", target: "aarch64-apple-darwin" },
];

impl Platform {
    /// The name of the folder in the archive.
    pub fn folder(&self) -> String {
        format!("codex-k8s-guard-{VERSION}-{}-{}", self.os, self.arch)
    }

    /// The file name of the archive.
    pub fn archive(&self) -> String {
        format!("{}.tar.gz", self.folder())
    }
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// The file name.
    pub name: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Artefact {
    /// Returns the SHA-256 digest in hexadecimal digits.
    pub fn sha256(&self) -> String {
        crate::image::digest(&self.bytes).replace("sha256:", "")
    }
}

/// Returns the checksums of artefacts, in the format of `sha256sum`.
pub fn checksums(artefacts: &[Artefact]) -> String {
    artefacts.iter().fold(String::new(), |mut lines, artefact| {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}  {}", artefact.sha256(), artefact.name);
        lines
    })
}
