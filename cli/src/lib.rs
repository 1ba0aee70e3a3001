//! The command line: one program for the cluster and for people.
//!
//! Each file is a command or code that several commands share. A command parses its arguments, calls the libraries,
//! prints, and ends with an [exit code](exit). The doc comments of a command's `Args` are its help text.

mod audit;
mod certificate;
mod check;
mod cluster;
mod command_line;
mod completion;
mod connect;
mod daemon;
mod duration;
mod exit;
mod explain;
mod get;
mod input;
mod installation;
mod kubeconfig;
mod kubernetes;
mod output;
mod page;
pub mod pages;
mod policy;
mod policy_file;
mod process;
mod proxy;
mod reconcile;
mod register;
mod remote;
mod render;
mod replay;
mod schedule;
mod serve;
mod sweep;
mod table;
mod telemetry;
mod uninstall;
mod unregister;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use command_line::CommandLine;
use exit::{Ended, Exit, ended};

/// The name of the program.
pub const NAME: &str = "codex-k8s-guard";
/// The file name under which kubectl finds its plugin `guard`.
const PLUGIN: &str = "kubectl-guard";

const AFTER_HELP: &str = "\
The cluster runs serve, reconcile, and either sweep or daemon. All other commands are for interactive use and CI.

Commands that use a cluster take the cluster options of kubectl. sweep, audit and explain ns/NAME
run in the installation, with its policy, audit store and identity. Durations are written like 10s,
5m or 1h30m.";

/// Guard the namespaces and Jobs of AI agents: admission webhook, baseline reconciler and garbage collector
#[derive(Debug, Parser)]
#[command(name = NAME, version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[arg(skip)]
    line: CommandLine,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Reconcile(reconcile::Args),
    Sweep(sweep::Args),
    Daemon(daemon::Args),
    Check(check::Args),
    Explain(explain::Args),
    Get(get::Args),
    Page(page::Args),
    Replay(replay::Args),
    /// Print, lint, compare and hash policies
    #[command(subcommand)]
    Policy(policy::Command),
    Render(render::Args),
    Register(register::Args),
    Unregister(unregister::Args),
    Verify(verify::Args),
    /// List, export and prune audit rows, or install their schema
    #[command(subcommand)]
    Audit(audit::Command),
    Uninstall(uninstall::Args),
    Certificate(certificate::Args),
    Schedule(schedule::Args),
    Completions(completion::Completions),
    Manpages(pages::Manpages),
}

impl Cli {
    /// Parses a command line. Its first word is the name that the program was called by: as `kubectl-guard`, the
    /// program calls itself `kubectl guard` in its help and usage texts. An invalid command line ends the process.
    pub fn parse_from(line: impl IntoIterator<Item = OsString>) -> Self {
        let line: Vec<_> = line.into_iter().collect();
        complete(&line);
        let command = called(line.first());
        let matches = command.clone().get_matches_from(line);
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self { line: CommandLine::of(&command, &matches), ..cli }
    }

    /// Runs the command. Errors and their causes are written to standard error.
    pub fn run(self) -> ExitCode {
        match self.command.run(&self.line) {
            Ok(exit) => exit.into(),
            Err(failure) if output::is_closed_pipe(&failure.error) => Exit::Done.into(),
            Err(failure) => {
                output::complain(&failure.error);
                failure.exit.into()
            }
        }
    }
}

impl Command {
    fn run(self, line: &CommandLine) -> Ended {
        match self {
            Self::Serve(args) => ended(args.run()),
            Self::Reconcile(args) => ended(args.run()),
            Self::Sweep(args) => args.run(line),
            Self::Daemon(args) => args.run(),
            Self::Check(args) => args.run(),
            Self::Explain(args) => args.run(line),
            Self::Get(args) => args.run(),
            Self::Page(args) => args.run(),
            Self::Replay(args) => args.run(),
            Self::Policy(command) => command.run(),
            Self::Render(args) => args.run(),
            Self::Register(args) => ended(args.run()),
            Self::Unregister(args) => ended(args.run()),
            Self::Verify(args) => ended(args.run()),
            Self::Audit(command) => command.run(line),
            Self::Uninstall(args) => ended(args.run()),
            Self::Certificate(args) => ended(args.run()),
            Self::Schedule(args) => args.run(),
            Self::Completions(args) => ended(args.run()),
            Self::Manpages(args) => ended(args.run::<Cli>()),
        }
    }
}

/// Prints completions and ends the process, if kubectl or the script of a shell requests them.
fn complete(line: &[OsString]) {
    if is_named(line.first(), completion::OF_KUBECTL) {
        let arguments = line.get(1..).unwrap_or_default().to_vec();
        if let Err(error) = completion::print_for_kubectl(called(line.first()), arguments) {
            output::complain(&error);
        }
        std::process::exit(0);
    }
    clap_complete::CompleteEnv::with_factory(Cli::command).var(completion::VARIABLE).complete();
}

/// True if the program was called by this file name.
fn is_named(name: Option<&OsString>, file: &str) -> bool {
    name.and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == file)
}

/// The command, with the name that it was called by.
fn called(name: Option<&OsString>) -> clap::Command {
    let command = Cli::command();
    if is_named(name, PLUGIN) {
        plugin(command).display_name(PLUGIN).bin_name("kubectl guard")
    } else {
        command
    }
}

/// A command and its subcommands, with examples that call the kubectl plugin.
fn plugin(command: clap::Command) -> clap::Command {
    let help =
        command.get_after_help().map(|help| help.to_string().replace(&format!("{NAME} "), "kubectl guard "));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command and its subcommands, by their full names.
    fn commands(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((name.to_owned(), command.clone()));
        for below in command.get_subcommands() {
            commands(below, &format!("{name} {}", below.get_name()), found);
        }
    }

    fn all() -> Vec<(String, clap::Command)> {
        let mut found = Vec::new();
        commands(&Cli::command(), NAME, &mut found);
        found
    }

    /// The example lines of a help text that call the program, split into words.
    fn examples(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
        let examples = examples.split("\n\n").next().unwrap_or_default();
        let lines = examples.lines().filter_map(|line| line.split('|').find(|call| call.contains(NAME)));
        let parts = |line: &str| {
            let call = line.split(['<', '>']).next().unwrap_or_default();
            let mut parts = Vec::new();
            for (index, part) in call.split('\'').enumerate() {
                match index % 2 {
                    0 => parts.extend(part.split_whitespace().map(str::to_owned)),
                    _ => parts.push(part.to_owned()),
                }
            }
            parts
        };
        lines.map(parts).collect()
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_are_read() {
        for (name, command) in all() {
            let examples = examples(&command);
            assert!(command.has_subcommands() || !examples.is_empty(), "{name}: no Examples:");
            for line in examples {
                assert!(line.join(" ").starts_with(&name), "{name}: {line:?} is of another command");
                let read = Cli::try_parse_from(&line);
                assert!(read.is_ok(), "{name}: {line:?}: {}", read.unwrap_err());
            }
        }
    }

    #[test]
    fn one_option_means_one_thing_in_all_commands() {
        for name in ["policy", "kubeconfig", "context", "guard-namespace", "audit-store", "runs", "log"] {
            let mut meanings: Vec<_> = all()
                .iter()
                .flat_map(|(_, command)| command.get_opts().cloned().collect::<Vec<_>>())
                .filter(|option| option.get_long() == Some(name))
                .map(|option| {
                    (option.get_help().map(ToString::to_string), option.get_env().map(OsString::from))
                })
                .collect();
            assert!(meanings.len() > 1, "{name}");
            meanings.dedup();
            assert_eq!(meanings.len(), 1, "{name}: {meanings:?}");
        }
    }

    #[test]
    fn durations_have_one_form_and_no_option_counts_a_unit() {
        for (name, command) in all() {
            for option in command.get_opts() {
                let values: Vec<_> = option.get_value_names().unwrap_or_default().to_vec();
                for unit in ["SECONDS", "MILLISECONDS", "MINUTES", "DAYS"] {
                    assert!(!values.iter().any(|value| value == unit), "{name} --{}", option.get_id());
                }
            }
        }
    }

    #[test]
    fn called_as_a_plugin_it_is_kubectl_guard_in_usage_and_examples() {
        let name = OsString::from("/usr/local/bin/kubectl-guard");
        let mut command = called(Some(&name));
        command.build();
        let sweep = command.find_subcommand_mut("sweep").unwrap();
        let help = sweep.render_long_help().to_string();
        assert!(help.contains("Usage: kubectl guard sweep"), "{help}");
        assert!(
            help.contains("\n  kubectl guard sweep") && !help.contains("codex-k8s-guard sweep"),
            "{help}"
        );
    }
}
