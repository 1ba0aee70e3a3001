//! Writing to a terminal or a pipe that may be closed, in the form that was asked for.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum LogForm {
    /// A line of text each
    #[default]
    Text,
    /// A line of JSON each
    Json,
}

impl LogForm {
    /// From now on, what is logged goes to standard error; the filter is `RUST_LOG`.
    pub(super) fn install(self, usual: &str) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
        let colours = io::stderr().is_terminal();
        let builder =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
        match self {
            Self::Text => builder.init(),
            Self::Json => builder.json().init(),
        }
    }
}

impl Form {
    /// Prints a value: as JSON or YAML, or as the table that `table` makes of it.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        print(&match self {
            Self::Table => table(value),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
            Self::Yaml => serde_saphyr::to_string(value)?,
        })
    }
}

/// Writes to standard output; a closed pipe is an error like any other here.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Whether the reader of our output has gone, as `head` does: that is no failure.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Tells what went wrong, and why.
pub(super) fn complain(error: &anyhow::Error) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
