//! Writing to a terminal or a pipe that may be closed, in the form that was asked for.

use std::io::{self, ErrorKind, Write};

use anstream::AutoStream;
use clap::{ColorChoice, ValueEnum};
use serde::Serialize;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
    /// For both
    Yaml,
}

impl Form {
    /// A value as JSON or YAML, or as the text for people that `human` makes of it.
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

    /// Prints a value in this form.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        print(&self.write(value, human)?)
    }
}

/// Writes to standard output; a closed pipe is an error like any other here.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// As [`print()`], of text with colours: they are taken out where they are not wanted, or nobody would see them.
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

/// Whether the reader of our output has gone, as `head` does: that is no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// As printed, even if nobody reads on: what the program ends with stays.
///
/// # Errors
/// If it could not be printed for another reason.
pub(crate) fn even_unread(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed_pipe(&error) { Ok(()) } else { Err(error) })
}

/// Tells what went wrong, and why.
pub(crate) fn complain(error: &anyhow::Error) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
