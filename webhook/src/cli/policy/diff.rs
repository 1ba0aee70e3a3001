//! `policy diff`: what differs between two policies.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::Style;
use anyhow::Context as _;
use clap::{ColorChoice, ValueEnum};
use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::super::{input, output};
use crate::diff::{Change, PolicyDiff, diff};
use crate::rules::catalogue;

/// The exit codes, which are those of diff.
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;
const UNREAD: u8 = 2;

const STRONG: Style = Style::new().bold();
/// The advice where the API server has to learn of the new policy.
const REGISTER_AGAIN: &str = "The webhook configurations differ: register again with `codex-k8s-webhook registration --apply --policy NEW`\n";

/// Print the settings that differ between two policies, and the rules that read them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes, as those of diff:\n  0  nothing differs\n  1  something does\n  2  bad usage, or no usable policy"
)]
pub(in crate::cli) struct Args {
    /// The old policy; - for standard input
    #[arg(required_unless_present = "schema")]
    old: Option<PathBuf>,
    /// The new policy; - for standard input
    #[arg(required_unless_present = "schema")]
    new: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    /// Print the JSON Schema of what --output json prints, and compare nothing
    #[arg(long, exclusive = true)]
    schema: bool,
    /// Whether it is coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Human,
    /// For programs
    Json,
    /// For both
    Yaml,
}

impl Args {
    /// Errors are what could not be read.
    pub(super) fn run(self) -> ExitCode {
        match self.compare() {
            Ok(code) => code.into(),
            Err(error) if output::is_closed_pipe(&error) => SAME.into(),
            Err(error) => {
                output::complain(&error);
                UNREAD.into()
            }
        }
    }

    fn compare(&self) -> anyhow::Result<u8> {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            let schema = serde_json::to_string_pretty(&PolicyDiff::json_schema())?;
            return output::print(&format!("{schema}\n")).map(|()| SAME);
        };
        if old == Path::new("-") && old == new {
            anyhow::bail!("OLD and NEW are both standard input; name a file for one of them");
        }
        let found = diff(&read(old)?, &read(new)?);
        let told = match self.output {
            Form::Human => told(&found),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&found)?),
            Form::Yaml => serde_saphyr::to_string(&found)?,
        };
        output::even_unread(output::print_coloured(&told, self.color))?;
        Ok(if found.changes.is_empty() { SAME } else { DIFFERENT })
    }
}

fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    super::parse(&input::text(file)?).with_context(|| format!("{} is no usable policy", file.display()))
}

/// The differences, with colours that whoever prints them takes out where they are not wanted.
fn told(found: &PolicyDiff) -> String {
    let mut text = String::new();
    for change in &found.changes {
        let _ = writeln!(text, "{STRONG}{}{STRONG:#}:{}", change.path, values(change));
        if !change.rules.is_empty() {
            let _ = writeln!(text, "    rules: {}", rules(change));
        }
    }
    text.push_str(&match found.changes.len() {
        0 => "no settings differ\n".to_owned(),
        1 => "1 setting differs\n".to_owned(),
        differ => format!("{differ} settings differ\n"),
    });
    if found.registration {
        text.push_str(REGISTER_AGAIN);
    }
    text
}

/// The old and the new value; of lists, the items that only one of them has.
fn values(change: &Change) -> String {
    let (Value::Array(old), Value::Array(new)) = (&change.old, &change.new) else {
        return format!(" {} -> {}", shown(&change.old), shown(&change.new));
    };
    let only = |sign: &str, items: &[Value], others: &[Value]| -> String {
        let items = items.iter().filter(|item| !others.contains(item));
        items.map(|item| format!("\n    {sign} {}", shown(item))).collect()
    };
    let items = only("-", old, new) + &only("+", new, old);
    if items.is_empty() { format!(" {} -> {}", shown(&change.old), shown(&change.new)) } else { items }
}

/// A value without the quotes of JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn rules(change: &Change) -> String {
    if change.rules.len() == catalogue::all().count() {
        return "all".to_owned();
    }
    let ids: Vec<_> = change.rules.iter().map(|rule| rule.id).collect();
    ids.join(", ")
}
