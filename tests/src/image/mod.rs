//! Images without a daemon: OCI archives for `docker load`, `podman load`, `skopeo` and `ctr images import`, which are
//! reproducible byte by byte.

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
pub(crate) use command::{REFERENCE, size, within_limit};
pub use guard::{Contents, LABELS, PATH, USER, guard};

/// An image of one layer.
#[derive(Debug, Clone)]
pub struct Image {
    /// The repository and the tag.
    pub reference: String,
    /// The entries of the layer.
    pub entries: Vec<Entry>,
    /// The default command.
    pub entrypoint: Vec<String>,
    /// The numeric user and group, separated by a colon.
    pub user: String,
    /// The labels.
    pub labels: Vec<(&'static str, String)>,
    /// The architecture that its programs are built for.
    pub architecture: Arch,
}

/// An entry of a layer.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A folder and its mode.
    Folder(&'static str, u32),
    /// A file, its mode and its contents.
    File(&'static str, u32, Vec<u8>),
    /// A symbolic link to an entry in the same folder.
    Link(&'static str, &'static str),
}

impl Entry {
    /// Returns the entry of a program, from a file of this machine.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn program(path: &'static str, from: &Path) -> anyhow::Result<Self> {
        Ok(Self::File(path, 0o755, read(from)?))
    }
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

/// Returns the archive of an image: for one architecture, or for several.
///
/// # Errors
/// Returns an error if there is no image, or an entry cannot be encoded, for example because its path is too long.
pub fn archive(images: &[Image]) -> anyhow::Result<Vec<u8>> {
    let first = images.first().context("there is no image to pack")?;
    let mut blobs = Vec::new();
    let mut manifests = Vec::new();
    for image in images {
        let (parts, manifest) = image.blobs()?;
        blobs.extend(parts);
        manifests.push(manifest);
    }
    let mut described = if let [manifest] = manifests.as_slice() {
        manifest.clone()
    } else {
        let index = Blob::new(MediaType::ImageIndex, canonical(&index(manifests)?)?)?;
        let described = index.descriptor.clone();
        blobs.push(index);
        described
    };
    described.set_annotations(Some(first.names()));
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;

    let mut archive = tar::Builder::new(Vec::new());
    for folder in ["blobs", "blobs/sha256"] {
        append(&mut archive, &Entry::Folder(folder, 0o755), folder)?;
    }
    for blob in blobs {
        append(&mut archive, &Entry::File("", 0o644, blob.bytes), &self::blob(&blob.descriptor))?;
    }
    append(&mut archive, &Entry::File("", 0o644, canonical(&index(vec![described])?)?), "index.json")?;
    append(&mut archive, &Entry::File("", 0o644, canonical(&layout)?), "oci-layout")?;
    Ok(archive.into_inner()?)
}

fn index(manifests: Vec<Descriptor>) -> anyhow::Result<ImageIndex> {
    Ok(ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()?)
}

impl Image {
    /// Returns the archive of this image alone.
    ///
    /// # Errors
    /// Returns an error if an entry cannot be encoded.
    pub fn archive(&self) -> anyhow::Result<Vec<u8>> {
        archive(std::slice::from_ref(self))
    }

    /// Returns the blobs, and the descriptor of the manifest.
    fn blobs(&self) -> anyhow::Result<([Blob; 3], Descriptor)> {
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
        let platform = PlatformBuilder::default().os(Os::Linux).architecture(self.architecture.clone());
        described.set_platform(Some(platform.build()?));
        Ok(([layer, config, manifest], described))
    }

    /// Writes the entries to a folder like an unpacked layer, with the current user and time.
    ///
    /// # Errors
    /// Returns an error if an entry cannot be written.
    pub fn unpack(&self, root: &Path) -> anyhow::Result<()> {
        tar::Archive::new(layer(&self.entries)?.as_slice())
            .unpack(root)
            .with_context(|| format!("failed to write below {}", root.display()))
    }

    fn configuration(&self, diff: &str) -> anyhow::Result<oci_spec::image::ImageConfiguration> {
        Ok(ImageConfigurationBuilder::default()
            .architecture(self.architecture.clone())
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

    /// Returns the names in the index of the archive: the whole name for containerd, the tag for other readers.
    fn names(&self) -> HashMap<String, String> {
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        HashMap::from([
            ("io.containerd.image.name".to_owned(), self.reference.clone()),
            ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
        ])
    }
}

/// A blob of the archive, which is stored by its digest.
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

/// Returns a file of the only layer of an archive.
///
/// # Errors
/// Returns an error if the archive is not one of ours, or has no such file.
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

/// Returns the path of a blob in an archive.
fn blob(described: &Descriptor) -> String {
    format!("blobs/sha256/{}", described.digest().digest())
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

pub(crate) fn compressed(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Formats JSON with sorted keys, because the order of maps is random.
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

/// Adds an entry that is owned by root, with the time zero.
pub(crate) fn append(archive: &mut tar::Builder<Vec<u8>>, entry: &Entry, path: &str) -> anyhow::Result<()> {
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

/// Returns the architecture of this machine.
pub fn native() -> Arch {
    match std::env::consts::ARCH {
        "aarch64" => Arch::ARM64,
        _ => Arch::Amd64,
    }
}
