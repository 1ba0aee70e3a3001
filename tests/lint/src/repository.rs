//! The files of a repository: crates with their parsed sources, and texts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use walkdir::{DirEntry, WalkDir};

use crate::config::Rules;
use crate::modules::{ModuleTree, Sources};
use crate::source::{ParseError, Source};

/// A crate that is checked.
pub struct Crate {
    /// The folder, from the root of the repository.
    pub path: String,
    /// The name that other crates use it by.
    pub library: String,
    /// The parsed files, those of integration tests among them.
    pub sources: Sources,
    /// The modules.
    pub tree: ModuleTree,
}

impl Crate {
    /// Parses the files of a crate.
    pub fn parse(path: &str, library: &str, files: &BTreeMap<String, String>) -> Result<Self, ParseError> {
        let sources = files
            .iter()
            .map(|(path, text)| Ok((path.clone(), Source::parse(path, text)?)))
            .collect::<Result<Sources, ParseError>>()?;
        let library_root = format!("{path}/src/lib.rs");
        let root =
            if sources.contains_key(&library_root) { library_root } else { format!("{path}/src/main.rs") };
        let tree = ModuleTree::build(&root, &sources);
        Ok(Self { path: path.to_owned(), library: library.to_owned(), sources, tree })
    }

    /// Reports whether a file is compiled for tests only.
    pub fn is_test(&self, source: &Source) -> bool {
        source.is_test() || self.tree.test_files().contains(source.path.as_str())
    }
}

/// All that is checked.
#[derive(Default)]
pub struct Repository {
    /// The crates that exist.
    pub crates: Vec<Crate>,
    /// The documents and manifests, by path.
    pub texts: BTreeMap<String, String>,
}

impl Repository {
    /// Reads the crates and texts that the rules name.
    pub fn read(root: &Path, rules: &Rules) -> anyhow::Result<Self> {
        let mut repository = Self::default();
        for rules in &rules.crates {
            let manifest = root.join(&rules.path).join("Cargo.toml");
            if manifest.exists() {
                let library = library_name(&std::fs::read_to_string(&manifest)?)
                    .with_context(|| format!("failed to read the name in {}/Cargo.toml", rules.path))?;
                let files = read_files(root, &rules.path, is_rust)?;
                repository.crates.push(Crate::parse(&rules.path, &library, &files)?);
            }
        }
        repository.texts = read_files(root, "", |path| is_text(path, rules))?;
        Ok(repository)
    }
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn is_text(path: &str, rules: &Rules) -> bool {
    let is_manifest = |folder: &String| path.starts_with(&format!("{folder}/")) && !is_rust(path);
    rules.documents.iter().any(|ending| path.ends_with(ending)) || rules.manifests.iter().any(is_manifest)
}

fn library_name(manifest: &str) -> Option<String> {
    let manifest: toml::Table = manifest.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.replace('-', "_"))
}

/// Reads the files of a folder, by their paths from the root. Hidden and built files are left out.
fn read_files(
    root: &Path,
    folder: &str,
    is_included: impl Fn(&str) -> bool,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(root.join(folder)).into_iter().filter_entry(is_source) {
        let entry = entry.context("failed to list files")?;
        let path = path_from(root, entry.path());
        if entry.file_type().is_file() && is_included(&path) {
            let text = std::fs::read(entry.path()).with_context(|| format!("failed to read {path}"))?;
            files.insert(path, String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(files)
}

fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || name == "target" || name.ends_with(".cdx.json"))
}

fn path_from(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
