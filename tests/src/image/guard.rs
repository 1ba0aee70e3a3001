//! Our own image: one program without a base image.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use oci_spec::image::Arch;

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
    let architecture = static_for(&bytes).with_context(|| program.display().to_string())?;
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
        architecture,
    })
}

/// Returns the architecture of a program that has no dynamic loader, and therefore needs no libraries.
fn static_for(program: &[u8]) -> anyhow::Result<Arch> {
    let file = ElfFile64::<Endianness>::parse(program).context("it is no program of a 64-bit Linux")?;
    let endian = file.endian();
    let needs_loader = |header: &object::elf::ProgramHeader64<_>| header.p_type(endian) == PT_INTERP;
    ensure!(
        !file.elf_program_headers().iter().any(needs_loader),
        "it asks for a loader, but the image has no libraries"
    );
    match file.elf_header().e_machine(endian) {
        EM_X86_64 => Ok(Arch::Amd64),
        EM_AARCH64 => Ok(Arch::ARM64),
        machine => bail!("it is built for machine {machine} of ELF: supported are amd64 and arm64"),
    }
}
