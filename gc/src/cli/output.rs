//! Writing in the form that was asked for.

use clap::ValueEnum;
pub(super) use codex_k8s_shared::cli::output::{complain, is_closed_pipe, print};
use serde::Serialize;

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
