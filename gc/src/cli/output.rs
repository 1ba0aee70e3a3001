//! Writing in the form that was asked for.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
pub(super) use codex_k8s_shared::cli::output::{complain, is_closed_pipe, print};
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
