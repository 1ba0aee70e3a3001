//! Lines of standard error that can be told from those of standard output after both were mixed into the log of a
//! container: each begins with a mark, if the environment requests it.

use std::io::{self, Write};

/// The first character of a marked line: the record separator, which terminals do not show.
pub const MARK: char = '\u{1e}';
/// The variable that requests the mark.
pub const VARIABLE: &str = "CODEX_K8S_GUARD_MARK_STDERR";

/// Returns the bytes of a line of a log, and true if they were written to standard error.
pub fn unmarked(line: &[u8]) -> (&[u8], bool) {
    let mut mark = [0; 4];
    let mark = MARK.encode_utf8(&mut mark).as_bytes();
    line.strip_prefix(mark).map_or((line, false), |rest| (rest, true))
}

/// A writer that marks each line, if it is requested. A line may take several writes.
#[derive(Debug)]
pub struct Marked<W> {
    out: W,
    is_requested: bool,
    begins: bool,
}

/// Standard error, marked if the environment requests it.
pub fn stderr() -> Marked<io::Stderr> {
    Marked::new(io::stderr(), std::env::var_os(VARIABLE).is_some())
}

impl<W: Write> Marked<W> {
    const fn new(out: W, is_requested: bool) -> Self {
        Self { out, is_requested, begins: true }
    }
}

impl<W: Write> Write for Marked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_requested {
            let mut marked = Vec::with_capacity(bytes.len() + 1);
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if self.begins {
                    marked.extend_from_slice(MARK.encode_utf8(&mut [0; 4]).as_bytes());
                }
                marked.extend_from_slice(line);
                self.begins = line.ends_with(b"\n");
            }
            self.out.write_all(&marked)?;
        } else {
            self.out.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(is_requested: bool, parts: &[&str]) -> String {
        let mut writer = Marked::new(Vec::new(), is_requested);
        for part in parts {
            writer.write_all(part.as_bytes()).unwrap();
        }
        String::from_utf8(writer.out).unwrap()
    }

    #[test]
    fn each_line_is_marked_once_even_if_it_takes_several_writes() {
        assert_eq!(written(true, &["a", "b\nc\n", "\n", "d"]), "\u{1e}ab\n\u{1e}c\n\u{1e}\n\u{1e}d");
        assert_eq!(written(false, &["a", "b\nc\n"]), "ab\nc\n");
    }

    #[test]
    fn a_mark_is_read_back_and_a_line_without_one_is_of_standard_output() {
        assert_eq!(unmarked("\u{1e}note: x\n".as_bytes()), (b"note: x\n".as_slice(), true));
        assert_eq!(unmarked(b"NAMESPACE\n"), (b"NAMESPACE\n".as_slice(), false));
        assert_eq!(unmarked(b""), (b"".as_slice(), false));
    }
}
