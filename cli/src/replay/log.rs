//! The lines of an audit log, in files that may be compressed, with progress.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Maximum number of bytes of a line. Longer than any event, which holds two objects of at most 3 MiB each.
const LONGEST: u64 = 16 << 20;
/// The size of the read buffers.
const BUFFER: usize = 256 << 10;
/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A line.
    Line(&'a [u8]),
    /// A line that is longer than any event, and was not read.
    TooLong,
    /// The last line of a file, without its end.
    Cut(&'a [u8]),
}

/// Reads the parts of all files in their order; `-` is standard input.
pub(super) fn read(files: &[PathBuf], mut take: impl FnMut(Part<'_>)) -> anyhow::Result<()> {
    let bar = bar(files);
    for file in files {
        let name = if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() };
        let context = || format!("failed to read {name}");
        let opened: Box<dyn Read> = if is_stdin(file) {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(file).with_context(context)?)
        };
        bar.set_message(name.clone());
        let bytes = BufReader::with_capacity(BUFFER, bar.wrap_read(opened));
        unpack(bytes, &mut take).with_context(context)?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Returns a progress bar on a terminal. The size of standard input is not known.
fn bar(files: &[PathBuf]) -> ProgressBar {
    let size = |file: &PathBuf| Some(file.metadata().ok().filter(std::fs::Metadata::is_file)?.len());
    let total: Option<u64> = files.iter().map(size).sum();
    let lively = io::stderr().is_terminal();
    let target = if lively { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template = if total.is_some() {
        "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed}"
    };
    let bar = ProgressBar::with_draw_target(total, target);
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
}

fn unpack(mut bytes: impl BufRead, take: impl FnMut(Part<'_>)) -> io::Result<()> {
    if bytes.fill_buf()?.starts_with(&GZIP) {
        lines(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(bytes)), take)
    } else {
        lines(bytes, take)
    }
}

fn lines(mut bytes: impl BufRead, mut take: impl FnMut(Part<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = bytes.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // A compressed file that is still being written ends early.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                take(Part::Cut(&line));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match line.strip_suffix(b"\n") {
            Some(line) if line.trim_ascii().is_empty() => {}
            Some(line) => take(Part::Line(line)),
            None if line.len() as u64 == LONGEST => {
                take(Part::TooLong);
                bytes.skip_until(b'\n')?;
            }
            None => take(Part::Cut(&line)),
        }
    }
}

/// Prints a warning about each file that ended early.
pub(super) fn warn_about_cut(count: u64) {
    if count > 0 {
        output::warn(&format!("{count} files end within a line, which was not evaluated"));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn parts(bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let describe = |part: Part<'_>| {
            found.push(match part {
                Part::Line(line) => String::from_utf8_lossy(line).into_owned(),
                Part::TooLong => "too long".to_owned(),
                Part::Cut(line) => format!("cut {}", line.len()),
            });
        };
        unpack(bytes, describe).unwrap();
        found
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_are_read_from_plain_and_from_compressed_files_of_several_members() {
        assert_eq!(parts(b"one\n\ntwo\n"), ["one", "two"]);
        let members = [packed("one\nt"), packed("wo\n")].concat();
        assert_eq!(parts(&members), ["one", "two"]);
    }

    #[test]
    fn a_file_that_ends_within_a_line_is_cut() {
        assert_eq!(parts(b"one\ntw"), ["one", "cut 2"]);
        let mut random = String::new();
        for number in 0..20_000_u32 {
            writeln!(random, "{:x}", number.wrapping_mul(2_654_435_761)).unwrap();
        }
        let whole = packed(&random);
        let half = parts(whole.get(..whole.len() / 2).unwrap());
        assert!(half.len() > 1_000 && half.last().unwrap().starts_with("cut "), "{:?}", half.last());
    }

    #[test]
    fn a_line_that_is_longer_than_any_event_is_passed_over() {
        let mut bytes = vec![b'x'; 40 << 20];
        bytes.extend(b"\nnext\n");
        assert_eq!(parts(&bytes), ["too long", "next"]);
    }
}
