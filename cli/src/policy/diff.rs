//! `policy diff`: the differences between two policies.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::Style;
use anyhow::{Context as _, anyhow};
use clap::ColorChoice;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::diff::{Change, PolicyDiff, diff};
use codex_k8s_webhook::rules::catalogue;
use serde_json::Value;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::exit::{Ended, Exit, OrExit as _, ended};
use crate::output::Form;
use crate::{input, installation, output, policy_file, process};

const STRONG: Style = Style::new().bold();
/// The advice to print if the new policy changes the webhook configurations.
const REGISTER_AGAIN: &str =
    "The webhook configurations differ: register again with `codex-k8s-guard register --policy NEW`\n";

/// Compare two policies: print the settings that differ and the rules that read them
///
/// With one file, compares the installed policy with it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard policy diff new.yaml\n  codex-k8s-guard policy diff old.yaml new.yaml\n  codex-k8s-guard policy diff old.yaml - --output json < new.yaml\n\nExit codes, like those of diff(1):\n  0  no differences\n  1  some settings differ\n  2  invalid usage or an invalid policy"
)]
pub(crate) struct Args {
    /// Old policy file, or `-` for standard input; the installed policy, if it is left out; and the new policy file
    #[arg(required_unless_present = "schema", num_args = 1..=2, value_names = ["OLD", "NEW"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    /// Print the JSON Schema of --output json instead of comparing
    #[arg(long, exclusive = true)]
    schema: bool,
    /// Use of colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

impl Args {
    /// Runs the command. Errors are inputs that could not be read.
    pub(super) fn run(self) -> Ended {
        let (old, new) = match self.files.as_slice() {
            [old, new] if old == Path::new("-") && old == new => {
                let error = anyhow!("OLD and NEW are both standard input: pass a file for one of them");
                return Err(error).or_exit(Exit::Usage);
            }
            [old, new] => (read(old).or_exit(Exit::Usage)?, new),
            [new] => {
                let installed = installation::installed_policy(&self.cluster, &self.install);
                (process::runtime()?.block_on(installed)?, new)
            }
            _ => return ended(output::print_json(&PolicyDiff::json_schema())),
        };
        let new = read(new).or_exit(Exit::Usage)?;
        self.compare(&old, &new).or_exit(Exit::Usage)
    }

    fn compare(&self, old: &RunPolicy, new: &RunPolicy) -> anyhow::Result<Exit> {
        let found = diff(old, new);
        let text = self.output.write(&found, format_report)?;
        output::even_unread(output::print_coloured(&text, self.color))?;
        Ok(if found.changes.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn read(file: &Path) -> anyhow::Result<RunPolicy> {
    policy_file::parse(&input::text(file)?)
        .with_context(|| format!("{} is not a valid policy", file.display()))
}

/// Formats the differences with colours, which are removed while printing if they are not requested.
fn format_report(found: &PolicyDiff) -> String {
    let mut text = String::new();
    for change in &found.changes {
        let _ = writeln!(text, "{STRONG}{}{STRONG:#}:{}", change.path, values(change));
        if !change.rules.is_empty() {
            let _ = writeln!(text, "    rules: {}", rules(change));
        }
    }
    let _ = match found.changes.len() {
        0 => writeln!(text, "no settings differ"),
        1 => writeln!(text, "1 setting differs"),
        differ => writeln!(text, "{differ} settings differ"),
    };
    if found.registration {
        text.push_str(REGISTER_AGAIN);
    }
    text
}

/// Formats the old and the new value. For lists: the items that only one of them has.
fn values(change: &Change) -> String {
    let (Value::Array(old), Value::Array(new)) = (&change.old, &change.new) else {
        return format!(" {} -> {}", shown(&change.old), shown(&change.new));
    };
    let only = |sign: &str, items: &[Value], others: &[Value]| -> String {
        let items = items.iter().filter(|item| !others.contains(item));
        items.fold(String::new(), |mut text, item| {
            let _ = write!(text, "\n    {sign} {}", shown(item));
            text
        })
    };
    let items = only("-", old, new) + &only("+", new, old);
    if items.is_empty() { format!(" {} -> {}", shown(&change.old), shown(&change.new)) } else { items }
}

/// Formats a value without JSON quotes.
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
