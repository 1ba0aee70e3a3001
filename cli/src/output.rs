//! Output to a terminal or a pipe that may be closed, in the requested format.

use std::io::{self, ErrorKind, Write};

use anstream::AutoStream;
use clap::{ColorChoice, ValueEnum};
use codex_k8s_shared::{errors, marked};
use serde::Serialize;

/// Output format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Text for people
    #[default]
    Human,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Form {
    /// Formats a value as JSON or YAML, or with `human` as text for people.
    pub(crate) fn write<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<String> {
        Ok(match self {
            Self::Human => human(value),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
            Self::Yaml => serde_saphyr::to_string(value)?,
        })
    }

    /// Prints a value in this format.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        print(&self.write(value, human)?)
    }
}

/// Prints a value as JSON over several lines.
pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Writes to standard output. A closed pipe is an error like any other here.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Copies a line of another process to standard output, or to standard error.
pub(crate) fn copy(line: &[u8], is_error: bool) -> anyhow::Result<()> {
    if is_error {
        // If standard error is closed, the line is lost, and the output is not.
        let _ = io::stderr().write_all(line);
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(line)?;
    out.flush()?;
    Ok(())
}

/// Prints a question to standard error, without an end of the line.
pub(crate) fn ask(question: &str) -> anyhow::Result<()> {
    let mut out = io::stderr().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    Ok(())
}

/// Like [`print()`], but for text with colours, which are removed if they are not requested or not supported.
pub(crate) fn print_coloured(text: &str, when: ColorChoice) -> anyhow::Result<()> {
    let choice = match when {
        ColorChoice::Auto => AutoStream::choice(&io::stdout()),
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    let mut out = AutoStream::new(io::stdout().lock(), choice);
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// True if the reader of our output has closed it, as `head` does. That is not a failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Ignores a closed pipe, so that the exit code of the command does not change.
///
/// # Errors
/// Returns any other error of printing.
pub(crate) fn even_unread(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed_pipe(&error) { Ok(()) } else { Err(error) })
}

/// Prints a note to standard error.
pub(crate) fn note(text: &str) {
    // If standard error is closed, the note is lost, and the report is not.
    let _ = writeln!(marked::stderr(), "note: {text}");
}

/// Prints a warning to standard error.
pub(crate) fn warn(text: &str) {
    // If standard error is closed, the warning is lost, and the result is not.
    let _ = writeln!(marked::stderr(), "warning: {text}");
}

/// Prints an error and its causes to standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    // If standard error is closed, there is no place left to report to.
    let _ = writeln!(marked::stderr(), "error: {}", errors::chain(&**error));
}
