//! Images without a daemon: what is packed is an OCI archive, as `docker load`, `podman load`, `skopeo` and
//! `ctr images import` take it, and the same bytes whenever and wherever it is packed.

mod command;
mod guard;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use oci_spec::image::{
    Arch, Config, ConfigBuilder, Descriptor, DescriptorBuilder, Digest, ImageConfigurationBuilder,
    ImageIndex, ImageIndexBuilder, ImageManifest, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os,
    PlatformBuilder, RootFsBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

pub use command::Args;
pub use guard::{Contents, LABELS, PATH, USER, guard};

/// An image of one layer.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is called: repository and tag.
    pub reference: String,
    /// What is in it, below its root.
    pub entries: Vec<Entry>,
    /// The command that it runs with nothing said.
    pub entrypoint: Vec<String>,
    /// The numeric user, and the group after a colon, that it runs as.
    pub user: String,
    /// What it says of itself.
    pub labels: Vec<(&'static str, String)>,
}

/// Something in a layer.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A folder, and who may do what in it.
    Folder(&'static str, u32),
    /// A file, who may do what to it, and what is in it.
    File(&'static str, u32, Vec<u8>),
    /// Another name of what is beside it.
    Link(&'static str, &'static str),
}

impl Entry {
    /// A program, from a file of this machine.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn program(path: &'static str, from: &Path) -> anyhow::Result<Self> {
        Ok(Self::File(path, 0o755, read(from)?))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

impl Image {
    /// The archive.
    ///
    /// # Errors
    /// If a part of it cannot be expressed, such as a path that is too long.
    pub fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let layer = layer(&self.entries)?;
        let diff = digest(&layer);
        let layer = Blob::new(MediaType::ImageLayerGzip, compressed(&layer)?)?;
        let config = Blob::new(MediaType::ImageConfig, canonical(&self.configuration(&diff)?)?)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor.clone())
            .layers([layer.descriptor.clone()])
            .build()?;
        let manifest = Blob::new(MediaType::ImageManifest, canonical(&manifest)?)?;
        let mut described = manifest.descriptor.clone();
        described.set_annotations(Some(self.names()));
        described.set_platform(Some(
            PlatformBuilder::default().os(Os::Linux).architecture(architecture()).build()?,
        ));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([described])
            .build()?;
        let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;

        let mut archive = tar::Builder::new(Vec::new());
        for folder in ["blobs", "blobs/sha256"] {
            append(&mut archive, &Entry::Folder(folder, 0o755), folder)?;
        }
        for blob in [&layer, &config, &manifest] {
            let name = self::blob(&blob.descriptor);
            append(&mut archive, &Entry::File("", 0o644, blob.bytes.clone()), &name)?;
        }
        append(&mut archive, &Entry::File("", 0o644, canonical(&index)?), "index.json")?;
        append(&mut archive, &Entry::File("", 0o644, canonical(&layout)?), "oci-layout")?;
        Ok(archive.into_inner()?)
    }

    /// Writes what is in it below a folder, as a layer would be unpacked; users and times are those of whoever does it.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn unpack(&self, root: &Path) -> anyhow::Result<()> {
        tar::Archive::new(layer(&self.entries)?.as_slice())
            .unpack(root)
            .with_context(|| format!("failed to write below {}", root.display()))
    }

    fn configuration(&self, diff: &str) -> anyhow::Result<oci_spec::image::ImageConfiguration> {
        Ok(ImageConfigurationBuilder::default()
            .architecture(architecture())
            .os(Os::Linux)
            .config(self.config()?)
            .rootfs(RootFsBuilder::default().typ("layers").diff_ids([diff.to_owned()]).build()?)
            .build()?)
    }

    fn config(&self) -> anyhow::Result<Config> {
        let labels = self.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Ok(ConfigBuilder::default()
            .user(self.user.clone())
            .env([format!("PATH={PATH}")])
            .entrypoint(self.entrypoint.clone())
            .working_dir("/")
            .labels(labels.collect::<HashMap<_, _>>())
            .build()?)
    }

    /// What the archive's readers call it: containerd by its whole name, others by the tag.
    fn names(&self) -> HashMap<String, String> {
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        HashMap::from([
            ("io.containerd.image.name".to_owned(), self.reference.clone()),
            ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
        ])
    }
}

/// Something that the archive has by its digest.
struct Blob {
    descriptor: Descriptor,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: MediaType, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let descriptor = DescriptorBuilder::default()
            .media_type(media_type)
            .size(u64::try_from(bytes.len())?)
            .digest(digest(&bytes).parse::<Digest>()?)
            .build()?;
        Ok(Self { descriptor, bytes })
    }
}

/// A file of an archive's only layer.
///
/// # Errors
/// If it is no archive of ours, or has no such file.
pub fn unpacked(archive: &[u8], path: &str) -> anyhow::Result<Vec<u8>> {
    let manifest = ImageIndex::from_reader(file(archive, "index.json")?.as_slice())?;
    let manifest = manifest.manifests().first().context("the archive has no image")?;
    let manifest = ImageManifest::from_reader(file(archive, &blob(manifest))?.as_slice())?;
    let layer = manifest.layers().first().context("the image has no layer")?;
    let mut unpacked = Vec::new();
    GzDecoder::new(file(archive, &blob(layer))?.as_slice()).read_to_end(&mut unpacked)?;
    file(&unpacked, path)
}

fn file(archive: &[u8], path: &str) -> anyhow::Result<Vec<u8>> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.path()? == Path::new(path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("there is no {path}")
}

/// Where an archive has what is described.
fn blob(described: &Descriptor) -> String {
    format!("blobs/sha256/{}", described.digest().digest())
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut hex, byte| {
        // A String takes all that is written.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn compressed(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// JSON whose keys are sorted: maps come in another order each time.
fn canonical(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut value: Value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

fn layer(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for entry in entries {
        let (Entry::Folder(path, _) | Entry::File(path, _, _) | Entry::Link(path, _)) = entry;
        append(&mut layer, entry, path)?;
    }
    Ok(layer.into_inner()?)
}

/// Adds something that belongs to root and was never changed.
fn append(archive: &mut tar::Builder<Vec<u8>>, entry: &Entry, path: &str) -> anyhow::Result<()> {
    let mut header = Header::new_ustar();
    let (kind, mode, bytes): (_, _, &[u8]) = match entry {
        Entry::Folder(_, mode) => (EntryType::Directory, *mode, &[]),
        Entry::File(_, mode, bytes) => (EntryType::Regular, *mode, bytes),
        Entry::Link(_, _) => (EntryType::Symlink, 0o777, &[]),
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let packed = match entry {
        Entry::Link(_, to) => archive.append_link(&mut header, path, to),
        _ => archive.append_data(&mut header, path, bytes),
    };
    packed.with_context(|| format!("failed to pack {path}"))
}

/// That of this machine, for which the programs are built.
fn architecture() -> Arch {
    match std::env::consts::ARCH {
        "aarch64" => Arch::ARM64,
        _ => Arch::Amd64,
    }
}
