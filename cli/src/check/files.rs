//! The files to evaluate.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use codex_k8s_webhook::check::{Document, LARGEST, read};

use crate::input;

/// Reads the objects in files and directories, or from standard input if there are none.
pub(super) fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    if files.is_empty() {
        return of_file(Path::new("-"));
    }
    let mut documents = Vec::new();
    for file in files {
        if file.is_dir() {
            for file in manifests(file)? {
                documents.extend(of_file(&file)?);
            }
        } else {
            documents.extend(of_file(file)?);
        }
    }
    Ok(documents)
}

/// Lists the manifests in a directory and its subdirectories, by name.
fn manifests(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("failed to read {}", folder.display());
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())
        .with_context(failed)?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let is_manifest = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if path.is_dir() && !path.is_symlink() {
            files.extend(manifests(&path)?);
        } else if is_manifest {
            files.push(path);
        }
    }
    Ok(files)
}

/// Reads the objects in a file, or from standard input if it is `-`.
pub(super) fn of_file(file: &Path) -> anyhow::Result<Vec<Document>> {
    // Read one byte more than the limit, which shows that the file is too large.
    let bytes = input::bytes(file, LARGEST as u64 + 1)?;
    Ok(read(&file.display().to_string(), &bytes)?)
}
