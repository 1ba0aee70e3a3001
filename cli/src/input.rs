//! Input of commands: a file, or standard input if its name is `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;

/// Reads at most this many bytes.
pub(super) fn bytes(file: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    read(file, |from| {
        let mut bytes = Vec::new();
        from.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// Reads all text.
pub(super) fn text(file: &Path) -> anyhow::Result<String> {
    read(file, |from| io::read_to_string(from))
}

fn read<T>(file: &Path, take: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> anyhow::Result<T> {
    if file == Path::new("-") {
        return take(&mut io::stdin().lock()).context("failed to read standard input");
    }
    let opened = File::open(file).and_then(|mut file| take(&mut file));
    opened.with_context(|| format!("failed to read {}", file.display()))
}
