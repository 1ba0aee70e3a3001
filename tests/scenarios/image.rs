//! The image: the archive is an image by the specification, and the same each time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use codex_k8s_tests::image::{Contents, Entry, Image, LABELS, PATH, USER, archive, guard, native, unpacked};
use flate2::read::GzDecoder;
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, OciLayout};
use sha2::{Digest as _, Sha256};
use tar::Archive;

/// The files of an archive.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    files
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The content that a descriptor refers to, after a check of its size and digest.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, described: &Descriptor) -> &'a [u8] {
    let bytes = &files[&format!("blobs/sha256/{}", described.digest().digest())];
    assert_eq!(described.size(), u64::try_from(bytes.len()).unwrap());
    assert_eq!(described.digest().digest(), sha256(bytes));
    bytes
}

const X86_64: u8 = 62;
const AARCH64: u8 = 183;
const RISC_V: u8 = 243;

/// The smallest header of a Linux program: one that names no loader.
fn static_program(machine: u8) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20], elf[52], elf[54], elf[58]) = (2, machine, 1, 64, 56, 64);
    elf
}

fn contents(folder: &Path, bytes: &[u8]) -> Contents {
    let contents = Contents { program: folder.join("codex-k8s-guard"), bom: folder.join("bom.json") };
    fs::write(&contents.program, bytes).unwrap();
    fs::write(&contents.bom, "{}").unwrap();
    contents
}

#[test]
fn what_is_packed_is_an_image_by_the_specification() {
    let folder = tempfile::tempdir().unwrap();
    let contents = contents(folder.path(), &static_program(X86_64));
    let archive = guard(&contents, "guard.invalid/guard:1.2").unwrap().archive().unwrap();
    assert_eq!(unpacked(&archive, "usr/bin/codex-k8s-guard").unwrap(), static_program(X86_64));
    let files = files(&archive);

    let layout: OciLayout = serde_json::from_slice(&files["oci-layout"]).unwrap();
    assert_eq!(layout.image_layout_version(), "1.0.0");
    let index = ImageIndex::from_reader(files["index.json"].as_slice()).unwrap();
    let [described] = index.manifests().as_slice() else { panic!("{index:?}") };
    let names = described.annotations().as_ref().unwrap();
    assert_eq!(names["io.containerd.image.name"], "guard.invalid/guard:1.2");
    assert_eq!(names["org.opencontainers.image.ref.name"], "1.2");
    let manifest = ImageManifest::from_reader(blob(&files, described)).unwrap();
    let configuration = ImageConfiguration::from_reader(blob(&files, manifest.config())).unwrap();
    let config = configuration.config().as_ref().unwrap();
    assert_eq!(config.user().as_deref(), Some(USER));
    assert_eq!(config.labels().as_ref().unwrap().len(), LABELS.len() + 1);

    let [layer] = manifest.layers().as_slice() else { panic!("{manifest:?}") };
    let mut plain = Vec::new();
    GzDecoder::new(blob(&files, layer)).read_to_end(&mut plain).unwrap();
    assert_eq!(configuration.rootfs().diff_ids().as_slice(), [format!("sha256:{}", sha256(&plain))]);
    let inside = self::files(&plain);
    assert_eq!(inside["usr/bin/codex-k8s-guard"], static_program(X86_64));
    assert_eq!(inside["usr/share/doc/codex-k8s-guard/codex-k8s-guard.cdx.json"], b"{}");
    assert!(inside["usr/share/doc/codex-k8s-guard/LICENSE"].ends_with(b"\n"), "a licence");
    assert!(String::from_utf8_lossy(&inside["etc/passwd"]).contains("guard:x:65532:65532:"));
}

#[test]
fn the_same_is_packed_into_the_same_bytes() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let archives = folders.each_ref().map(|folder| {
        let contents = contents(folder.path(), &static_program(X86_64));
        guard(&contents, "guard.invalid/guard:1").unwrap().archive().unwrap()
    });
    assert!(archives[0] == archives[1], "they differ");
}

#[test]
fn a_program_that_needs_libraries_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let dynamic = fs::read(std::env::current_exe().unwrap()).unwrap();
    let refused = guard(&contents(folder.path(), &dynamic), "guard.invalid/guard:1").unwrap_err();
    assert!(format!("{refused:#}").contains("codex-k8s-guard: it asks for a loader"), "{refused:#}");
    let refused = guard(&contents(folder.path(), b"#!/bin/sh"), "guard.invalid/guard:1").unwrap_err();
    assert!(format!("{refused:#}").contains("is no program of a 64-bit Linux"), "{refused:#}");
    let refused =
        guard(&contents(folder.path(), &static_program(RISC_V)), "guard.invalid/guard:1").unwrap_err();
    assert!(format!("{refused:#}").contains("machine 243 of ELF"), "{refused:#}");
}

#[test]
fn an_image_for_two_architectures_has_a_manifest_for_each_below_one_name() {
    let images = [X86_64, AARCH64].map(|machine| {
        let folder = tempfile::tempdir().unwrap();
        let contents = contents(folder.path(), &static_program(machine));
        guard(&contents, "guard.invalid/guard:1.2").unwrap()
    });
    let files = files(&archive(&images).unwrap());
    let index = ImageIndex::from_reader(files["index.json"].as_slice()).unwrap();
    let [both] = index.manifests().as_slice() else { panic!("{index:?}") };
    assert_eq!(both.annotations().as_ref().unwrap()["org.opencontainers.image.ref.name"], "1.2");
    let both = ImageIndex::from_reader(blob(&files, both)).unwrap();
    let platforms = both.manifests().iter().map(|described| {
        let manifest = ImageManifest::from_reader(blob(&files, described)).unwrap();
        let configuration = ImageConfiguration::from_reader(blob(&files, manifest.config())).unwrap();
        let platform = described.platform().as_ref().unwrap();
        assert_eq!(configuration.architecture(), platform.architecture());
        platform.architecture().clone()
    });
    assert_eq!(platforms.collect::<Vec<_>>(), [Arch::Amd64, Arch::ARM64]);
}

#[test]
fn what_is_unpacked_for_another_builder_is_the_same() {
    let image = Image {
        reference: "guard.invalid/x:1".to_owned(),
        entries: vec![
            Entry::Folder("bin", 0o755),
            Entry::File("bin/x", 0o755, b"x".to_vec()),
            Entry::Link("bin/y", "x"),
        ],
        entrypoint: Vec::new(),
        user: USER.to_owned(),
        labels: Vec::new(),
        architecture: native(),
    };
    let root = tempfile::tempdir().unwrap();
    image.unpack(root.path()).unwrap();
    for name in ["bin/x", "bin/y"] {
        assert_eq!(fs::read(root.path().join(name)).unwrap(), b"x");
    }
}

#[test]
fn the_dockerfile_says_what_the_archive_says() {
    let dockerfile = include_str!("../../Dockerfile").replace("\\\n", " ");
    let said = |line: &str| assert!(dockerfile.lines().any(|found| found == line), "no {line}");
    said(&format!("ENV PATH={PATH}"));
    said(&format!("USER {USER}"));
    said("ENTRYPOINT [\"codex-k8s-guard\"]");
    let version = ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION"));
    let labels = dockerfile.lines().find(|line| line.starts_with("LABEL")).unwrap();
    for (name, value) in LABELS.iter().chain([&version]) {
        assert!(labels.contains(&format!("{name}=\"{value}\"")), "{name}={value}: {labels}");
    }
    let rust = format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(dockerfile.lines().any(|line| line.starts_with(&rust)), "no {rust}");
}
