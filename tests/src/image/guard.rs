//! Our own image: one program without a base image.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use object::Endianness;
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader as _};

use super::{Entry, Image, read};

/// The `PATH` in the image.
pub const PATH: &str = "/usr/bin";

/// The user and group in the image, which no machine defines. The chart uses the same.
pub const USER: &str = "65532:65532";

/// The labels of the image, besides its version.
pub const LABELS: [(&str, &str); 5] = [
    ("org.opencontainers.image.title", "codex-k8s-guard"),
    (
        "org.opencontainers.image.description",
        "Admission webhook, baseline reconciler and garbage collector for agent runs",
    ),
    ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
    ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ("org.opencontainers.image.base.name", "scratch"),
];

const USERS: &str = "root:x:0:0:root:/:/sbin/nologin\nguard:x:65532:65532:codex-k8s-guard:/:/sbin/nologin\n";
const GROUPS: &str = "root:x:0:\nguard:x:65532:\n";
const LICENSE: &str = include_str!("../../../LICENSE");

/// The contents of our image.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The statically linked program.
    pub program: PathBuf,
    /// The software bill of materials: CycloneDX, from the lock file.
    pub bom: PathBuf,
}

/// Returns our image with a name and tag.
///
/// # Errors
/// Returns an error if a file cannot be read, or the program needs shared libraries, which the image does not have.
pub fn guard(contents: &Contents, reference: &str) -> anyhow::Result<Image> {
    let mut entries = vec![
        Entry::Folder("etc", 0o755),
        Entry::File("etc/passwd", 0o644, USERS.into()),
        Entry::File("etc/group", 0o644, GROUPS.into()),
        Entry::Folder("tmp", 0o1777),
        Entry::Folder("usr", 0o755),
        Entry::Folder("usr/bin", 0o755),
        Entry::Folder("usr/share", 0o755),
        Entry::Folder("usr/share/doc", 0o755),
        Entry::Folder("usr/share/doc/codex-k8s-guard", 0o755),
        Entry::File("usr/share/doc/codex-k8s-guard/LICENSE", 0o644, LICENSE.into()),
    ];
    let program = &contents.program;
    let bytes = read(program)?;
    let is_static = is_static(&bytes)
        .with_context(|| format!("{} is no program of a 64-bit Linux", program.display()))?;
    ensure!(is_static, "{} asks for a loader: the image has no libraries", program.display());
    entries.push(Entry::File("usr/bin/codex-k8s-guard", 0o755, bytes));
    let bom = read(&contents.bom)?;
    entries.push(Entry::File("usr/share/doc/codex-k8s-guard/codex-k8s-guard.cdx.json", 0o644, bom));
    let version = ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned());
    let labels = LABELS.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Ok(Image {
        reference: reference.to_owned(),
        entries,
        entrypoint: vec!["codex-k8s-guard".to_owned()],
        user: USER.to_owned(),
        labels: labels.chain([version]).collect(),
    })
}

/// True if a program has no dynamic loader, and therefore needs no libraries.
fn is_static(program: &[u8]) -> object::Result<bool> {
    let file = ElfFile64::<Endianness>::parse(program)?;
    let endian = file.endian();
    Ok(file.elf_program_headers().iter().all(|header| header.p_type(endian) != PT_INTERP))
}
