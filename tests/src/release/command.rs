//! `playground release`: packs the artefacts of a release.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Parser;

use super::{
    Artefact, PLATFORMS, Pages, Platform, VERSION, checksums, manifest, notes, of_program, repacked,
};
use crate::image::{self, Contents, REFERENCE, read, size, within_limit};
use crate::{binaries::tell, helm::helm};

const CHECKSUMS: &str = "checksums.txt";
const KREW: &str = "guard.yaml";
const NOTES: &str = "notes.md";

/// Pack the artefacts of a release, of the programs that are built
#[derive(Debug, Parser)]
pub struct Args {
    /// Directory of the sources
    #[arg(long, default_value = ".")]
    source: PathBuf,
    /// Directory of the programs and their bills of materials, by target
    #[arg(long)]
    built: PathBuf,
    /// Directory to write to; its present files are removed
    #[arg(long)]
    out: PathBuf,
    /// Tag of the commit; with it, every platform must be built, and the changelog must have a section of the version
    #[arg(long)]
    tag: Option<String>,
}

/// A program that is built, and its bill of materials.
struct Built {
    platform: Platform,
    program: PathBuf,
    bom: PathBuf,
}

impl Args {
    /// Packs the artefacts and prints a line for each.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written, or the tag does not fit.
    pub fn run(&self, playground: &Path) -> anyhow::Result<()> {
        if let Some(tag) = &self.tag {
            ensure!(*tag == format!("v{VERSION}"), "--tag: Invalid value: {tag:?}: must be \"v{VERSION}\"");
        }
        let notes = notes(&self.text("CHANGELOG.md")?, VERSION, self.tag.is_some())?;
        let built = self.built()?;
        let mut artefacts = self.archives(&built, &Pages::generate(playground)?)?;
        let archives: Vec<_> = built.iter().map(|built| built.platform).zip(&artefacts).collect();
        let plugin = manifest(&archives);
        for built in &built {
            let name = format!("{}.cdx.json", built.platform.folder());
            artefacts.push(Artefact { name, bytes: read(&built.bom)? });
        }
        artefacts.push(image(&built)?);
        artefacts.push(self.chart()?);
        artefacts.push(Artefact { name: KREW.to_owned(), bytes: plugin.into() });
        let sums = checksums(&artefacts);
        artefacts.push(Artefact { name: CHECKSUMS.to_owned(), bytes: sums.into() });
        artefacts.push(Artefact { name: NOTES.to_owned(), bytes: notes.into() });
        self.write(&artefacts)
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        let file = self.source.join(name);
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }

    /// Returns what is built, and reports the platforms that are not.
    fn built(&self) -> anyhow::Result<Vec<Built>> {
        let mut found = Vec::new();
        for platform in PLATFORMS {
            let Platform { os, arch, target } = platform;
            let program = self.built.join(format!("build/{target}/release/codex-k8s-guard"));
            let bom = self.built.join(format!("{target}.cdx.json"));
            if program.is_file() && bom.is_file() {
                found.push(Built { platform, program, bom });
            } else {
                ensure!(self.tag.is_none(), "{os}/{arch} is not built: a release has every platform");
                tell(&format!("{os}/{arch} is not built here ({target}), so it is left out"));
            }
        }
        ensure!(!found.is_empty(), "--built: {}: no program is built", self.built.display());
        Ok(found)
    }

    fn archives(&self, built: &[Built], pages: &Pages) -> anyhow::Result<Vec<Artefact>> {
        let names = ["LICENSE", "README.md", "CHANGELOG.md"];
        let texts = names.map(|name| self.text(name).map(|text| (name, text)));
        let texts = texts.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let pack = |Built { platform, program, bom }: &Built| {
            let bom = read(bom)?;
            let mut others: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
            others.push(("codex-k8s-guard.cdx.json", &bom));
            let bytes = of_program(*platform, &read(program)?, pages, &others)?;
            Ok(Artefact { name: platform.archive(), bytes })
        };
        built.iter().map(pack).collect()
    }

    /// Returns the chart as helm packs it.
    fn chart(&self) -> anyhow::Result<Artefact> {
        let folder = tempfile::tempdir()?;
        let (from, to) = (self.source.join("deploy/chart"), folder.path().display().to_string());
        let ran = helm(&["package", &from.display().to_string(), "--destination", &to], "", None)?;
        ensure!(ran.status.success(), "failed to pack the chart: {}", String::from_utf8_lossy(&ran.stderr));
        let name = format!("codex-k8s-guard-{VERSION}.tgz");
        let bytes =
            read(&folder.path().join(&name)).context("the chart must have the version of the crates")?;
        Ok(Artefact { bytes: repacked(&bytes)?, name })
    }

    fn write(&self, artefacts: &[Artefact]) -> anyhow::Result<()> {
        if self.out.exists() {
            fs::remove_dir_all(&self.out)?;
        }
        fs::create_dir_all(&self.out)?;
        let mut out = std::io::stdout().lock();
        for artefact in artefacts {
            let file = self.out.join(&artefact.name);
            fs::write(&file, &artefact.bytes)
                .with_context(|| format!("failed to write {}", file.display()))?;
            writeln!(out, "{}  {:>9}  {}", artefact.sha256(), size(artefact.bytes.len()), artefact.name)?;
        }
        Ok(())
    }
}

/// Returns the image for every architecture of Linux that is built.
fn image(built: &[Built]) -> anyhow::Result<Artefact> {
    let mut images = Vec::new();
    for built in built.iter().filter(|built| built.platform.os == "linux") {
        let contents = Contents { program: built.program.clone(), bom: built.bom.clone() };
        let image = image::guard(&contents, REFERENCE)?;
        within_limit(&image.archive()?)?;
        images.push(image);
    }
    let name = format!("codex-k8s-guard-{VERSION}-image.tar");
    Ok(Artefact { name, bytes: image::archive(&images)? })
}
