//! `codex-k8s-lint`: checks names, prose and layout of this repository.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use codex_k8s_lint::changes::changed_files;
use codex_k8s_lint::config::{Limits, Rules};
use codex_k8s_lint::figures::Figures;
use codex_k8s_lint::findings::{Findings, LIMITS_FILE, Report};
use codex_k8s_lint::repository::Repository;
use serde::de::DeserializeOwned;

/// The file of the rules, from the root of the repository.
const RULES_FILE: &str = "tests/lint/rules.toml";
/// A list of more problems for one figure does not help to find the new one.
const MAX_PROBLEMS: usize = 25;
/// The comment at the top of the file of limits.
const LIMITS_HEADER: &str = "\
# The present figures, which may only fall: a figure above or below its limit fails `make lint`.
# `codex-k8s-lint limits` prints this file. The rules are in rules.toml.
";

/// Check names, prose and layout of the code and the docs
#[derive(Debug, Parser)]
#[command(name = "codex-k8s-lint", version)]
struct Arguments {
    /// Root of the repository
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    root: PathBuf,
    /// List all problems of a figure that is above its limit
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Print figures about the product's code
    Figures {
        /// Format of the output
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the limits that the present figures would have
    Limits,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let rules: Rules = read(&arguments.root, RULES_FILE)?;
    let repository = Repository::read(&arguments.root, &rules)?;
    let (text, code) = match arguments.command {
        Some(Command::Figures { output }) => {
            (figures(&Figures::count(&repository, &rules), output)?, ExitCode::SUCCESS)
        }
        Some(Command::Limits) => {
            let limits = toml::to_string_pretty(&Findings::collect(&repository, &rules).figures)?;
            (format!("{LIMITS_HEADER}{limits}"), ExitCode::SUCCESS)
        }
        None => check(arguments, &Findings::collect(&repository, &rules))?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("failed to write the output")?;
    Ok(code)
}

fn figures(figures: &Figures, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Table => figures.to_string(),
        Output::Json => serde_json::to_string_pretty(figures)? + "\n",
    })
}

fn check(arguments: &Arguments, findings: &Findings) -> anyhow::Result<(String, ExitCode)> {
    let limits: Limits = read(&arguments.root, LIMITS_FILE)?;
    let text = read_text(&arguments.root, LIMITS_FILE)?;
    let differences = findings.compare(&limits);
    let max_problems = if arguments.all { usize::MAX } else { MAX_PROBLEMS };
    let changed = changed_files(&arguments.root);
    let report = Report { differences: &differences, limits: &text, changed: &changed, max_problems };
    let code = if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok((report.to_string(), code))
}

fn read<T: DeserializeOwned>(root: &Path, file: &str) -> anyhow::Result<T> {
    toml::from_str(&read_text(root, file)?).with_context(|| format!("failed to parse {file}"))
}

fn read_text(root: &Path, file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(file)).with_context(|| format!("failed to read {file}"))
}
