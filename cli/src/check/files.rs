//! The files to evaluate.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use codex_k8s_webhook::check::{Contents, Document, LARGEST, Origin, PassedOver, read};
use glob::Pattern;

use crate::input;

/// Options for files that are not evaluated.
#[derive(Debug, clap::Args)]
// There are more of this name.
#[group(skip)]
pub(super) struct Args {
    /// Pattern of files and folders to ignore, such as `charts/**` (can be repeated)
    ///
    /// `*` stands for any characters except `/`, `**` for any folders. A pattern without `/` applies to names.
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<Pattern>,
    /// Kind of objects to ignore: `Widget`, or `Widget.example.org` with its API group (can be repeated)
    #[arg(long, value_name = "KIND")]
    ignore_kind: Vec<String>,
}

impl Args {
    fn is_ignored(&self, path: &Path) -> bool {
        const LITERAL: glob::MatchOptions = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let path = path.strip_prefix("./").unwrap_or(path);
        let name = path.file_name().map(Path::new);
        self.ignore.iter().any(|pattern| {
            let of_names = name.filter(|_| !pattern.as_str().contains('/'));
            pattern.matches_path_with(of_names.unwrap_or(path), LITERAL)
        })
    }

    fn is_ignored_kind(&self, document: &Document) -> bool {
        let qualified = format!("{}.{}", document.kind, document.group());
        self.ignore_kind.iter().any(|kind| *kind == document.kind || *kind == qualified)
    }

    /// Reads the objects in files and folders, or from standard input if there are none. Each file is read once.
    pub(super) fn contents(&self, files: &[PathBuf]) -> anyhow::Result<Contents> {
        let mut set = Set { args: self, seen: BTreeSet::new(), contents: Contents::default() };
        if files.is_empty() {
            set.add(Path::new("-"), Origin::Named)?;
        }
        for file in files {
            if file.is_dir() {
                set.add_folder(file)?;
            } else {
                set.add(file, Origin::Named)?;
            }
        }
        Ok(set.contents)
    }
}

/// Returns an error if there is nothing to evaluate.
pub(super) fn require_objects(contents: &Contents, files: &[PathBuf]) -> anyhow::Result<()> {
    if contents.documents.is_empty() {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let names = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        bail!("{names}: found no object; expected Kubernetes objects in YAML or JSON");
    }
    Ok(())
}

/// Reads existing objects from a file.
pub(crate) fn existing(file: &Path) -> anyhow::Result<Vec<Document>> {
    let contents = of_file(file, Origin::Named)?;
    require_objects(&contents, &[file.to_owned()])?;
    Ok(contents.documents)
}

fn of_file(file: &Path, origin: Origin) -> anyhow::Result<Contents> {
    // Read one byte more than the limit, which shows that the file is too large.
    let bytes = input::bytes(file, LARGEST as u64 + 1)?;
    Ok(read(&file.display().to_string(), &bytes, origin)?)
}

struct Set<'a> {
    args: &'a Args,
    /// The files that were read, without symbolic links.
    seen: BTreeSet<PathBuf>,
    contents: Contents,
}

impl Set<'_> {
    fn pass_over(&mut self, file: &Path, line: usize, reason: &str) {
        let (file, reason) = (file.display().to_string(), reason.to_owned());
        self.contents.passed_over.push(PassedOver { file, line, reason });
    }

    fn add(&mut self, file: &Path, origin: Origin) -> anyhow::Result<()> {
        if self.args.is_ignored(file) {
            self.pass_over(file, 1, "ignored by its name");
            return Ok(());
        }
        let same = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        if !self.seen.insert(same) {
            return Ok(());
        }
        let Contents { documents, passed_over } = of_file(file, origin)?;
        let (ignored, documents): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| self.args.is_ignored_kind(document));
        self.contents.documents.extend(documents);
        self.contents.passed_over.extend(passed_over);
        for document in ignored {
            self.pass_over(file, document.line, &format!("ignored by its kind {}", document.kind));
        }
        Ok(())
    }

    /// Adds the manifests in a folder and its subfolders, by name.
    fn add_folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.args.is_ignored(folder) {
            self.pass_over(folder, 1, "ignored by its name");
            return Ok(());
        }
        for path in entries(folder)? {
            let is_manifest =
                path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
            if path.is_dir() {
                if !path.is_symlink() && !is_of_a_volume(&path) {
                    self.add_folder(&path)?;
                }
            } else if is_manifest {
                self.add(&path, Origin::InFolder)?;
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut entries = read().with_context(|| format!("failed to read {}", folder.display()))?;
    entries.sort();
    Ok(entries)
}

/// Returns true for the folder of a mounted `ConfigMap` that holds its files. Next to it are links to them, by name.
fn is_of_a_volume(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
}
