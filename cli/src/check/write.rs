//! `check --write`: what is mended of objects, in their files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ValueEnum as _;
use codex_k8s_webhook::check::{Document, Judgement, Verdict, Written, rewritten};

use super::{Done, output};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Whether there is anything that could be written to.
pub(super) fn is_possible(files: &[PathBuf], operation: Done) -> anyhow::Result<()> {
    if files.iter().any(|file| file == Path::new("-")) {
        bail!("--write: found standard input; expected files");
    }
    if let Some(found) = operation.to_possible_value().filter(|_| operation != Done::Create) {
        bail!(
            "--write: found --operation {}; expected create: files hold objects as they are created",
            found.get_name()
        );
    }
    Ok(())
}

/// Writes it, and puts down of each object that is mended what became of that.
pub(super) fn write(documents: &[Document], judged: &mut [Judgement]) {
    let objects: Vec<_> = documents.iter().zip(judged.iter()).collect();
    let files = objects.chunk_by(|(one, _), (next, _)| Arc::ptr_eq(&one.source, &next.source));
    let written: Vec<_> = files.flat_map(write_file).collect();
    let mended = judged.iter_mut().filter(|judgement| judgement.result == Verdict::Mended);
    for (judgement, written) in mended.zip(written) {
        judgement.written = Some(written);
    }
}

/// What became of each mended object of a file.
fn write_file(objects: &[(&Document, &Judgement)]) -> Vec<Written> {
    let mended = objects.iter().filter(|(_, judgement)| judgement.result == Verdict::Mended).count();
    let Some((document, _)) = objects.first().filter(|_| mended > 0) else { return Vec::new() };
    let source = &document.source;
    let reasons = match rewritten(objects) {
        Ok(text) => {
            let replaced = replace(Path::new(&source.file), &source.text, &text);
            vec![replaced.err().map(|error| format!("{error:#}")); mended]
        }
        Err(reasons) => reasons.into_iter().map(|reason| Some(reason.to_string())).collect(),
    };
    reasons.into_iter().map(|reason| Written { done: reason.is_none(), reason }).collect()
}

/// Replaces a file's text, at once and as a whole. A link stays one: what it leads to is replaced.
fn replace(file: &Path, before: &str, after: &str) -> anyhow::Result<()> {
    let path = file.canonicalize().context("failed to find its file")?;
    let found = fs::read_to_string(&path).context("failed to read its file once more")?;
    let (mark, found) =
        found.strip_prefix(BYTE_ORDER_MARK).map_or(("", found.as_str()), |text| (BYTE_ORDER_MARK, text));
    if found == after {
        // Given twice, it is written already.
        return Ok(());
    }
    ensure!(found == before, "its file changed since it was read; run the check again");
    let permissions = fs::metadata(&path).context("failed to look at its file")?.permissions();
    ensure!(!permissions.readonly(), "its file is read-only");
    let folder = path.parent().ok_or_else(|| anyhow!("its file lies in no folder"))?;
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".codex-k8s-check-").tempfile_in(folder)?;
        file.write_all(mark.as_bytes())?;
        file.write_all(after.as_bytes())?;
        file.as_file().set_permissions(permissions)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        anyhow::Ok(())
    };
    write().context("failed to write its file")
}

/// Tells of each object that could not be written, and whether there is one.
pub(super) fn complain(judged: &[Judgement]) -> bool {
    let reasons =
        judged.iter().filter_map(|judgement| Some((judgement, judgement.written.as_ref()?.reason.as_ref()?)));
    let mut is_any = false;
    for (judgement, reason) in reasons {
        is_any = true;
        let Judgement { file, line, .. } = judgement;
        output::complain(&anyhow!("{file}:{line}: {}: could not be written: {reason}", judgement.what()));
    }
    is_any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_since_it_was_read_and_one_that_is_read_only_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.yaml");
        fs::write(&file, "another's").unwrap();
        let error = replace(&file, "before", "after").unwrap_err();
        assert_eq!(error.to_string(), "its file changed since it was read; run the check again");
        fs::write(&file, "before").unwrap();
        let writable = fs::metadata(&file).unwrap().permissions();
        let mut permissions = writable.clone();
        permissions.set_readonly(true);
        fs::set_permissions(&file, permissions).unwrap();
        assert_eq!(replace(&file, "before", "after").unwrap_err().to_string(), "its file is read-only");
        fs::set_permissions(&file, writable).unwrap();
        replace(&file, "before", "after").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    }
}
