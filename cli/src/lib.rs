//! The command line: one program for the cluster and for people.
//!
//! Each file is a command, or what several of them share. A command parses its arguments, calls the libraries, prints, and
//! ends with an [exit code](exit).

mod audit;
mod certificate;
mod check;
mod cluster;
mod connect;
mod daemon;
mod duration;
mod exit;
mod explain;
mod input;
mod output;
pub mod pages;
mod policy;
mod process;
mod reconcile;
mod register;
mod render;
mod review;
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

use exit::{Ended, Exit, ended};

/// The name of the program.
pub const NAME: &str = "codex-k8s-guard";
/// The file name by which kubectl finds its plugin `guard`.
const PLUGIN: &str = "kubectl-guard";

const AFTER_HELP: &str = "\
In the cluster run serve, reconcile, and sweep or daemon. All other commands are for people.

Commands that use a cluster take --kubeconfig and --context. Durations are written as in 10s, 5m or 1h30m.";

/// Guards the namespaces and Jobs of AI agents: admission webhook, baseline reconciler and garbage collector.
#[derive(Debug, Parser)]
#[command(name = NAME, version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve admission reviews over HTTPS (in the cluster)
    Serve(serve::Args),
    /// Put the baseline into every managed namespace, and repair it (in the cluster)
    Reconcile(reconcile::Args),
    /// Delete the expired run namespaces, once (in the cluster)
    Sweep(sweep::Args),
    /// Sweep on a schedule, and serve metrics and a page (in the cluster)
    Daemon(daemon::Args),
    /// Report what the webhook would answer about files or a live cluster
    Check(check::Args),
    /// Explain the rules, a rule, a namespace or a decision
    Explain(explain::Args),
    /// Print, check, compare and describe policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Print or create the Namespace and the Job of a run, and follow the Job
    Render(render::Args),
    /// Apply the webhook configurations and wait until they are enforced, or print them
    Register(register::Args),
    /// Delete the webhook configurations: nothing is guarded from then on
    Unregister(unregister::Args),
    /// Wait until the rules are enforced, and change nothing
    Verify(verify::Args),
    /// List and prune audit rows
    #[command(subcommand)]
    Audit(audit::Command),
    /// Delete what the program has made in its own namespace, after it is uninstalled
    Uninstall(uninstall::Args),
    /// Make a certificate authority and a serving certificate
    Certificate(certificate::Args),
    /// Show when a schedule fires next, and describe it
    Schedule(schedule::Args),
    /// Print a completion script for a shell
    Completions(pages::Completions),
    /// Write the man pages, one for each command
    Manpages(pages::Manpages),
}

impl Cli {
    /// Reads a command line, whose first word is the name by which the program was called: as `kubectl-guard`, it is
    /// `kubectl guard` in all that it prints about itself. A command line that cannot be read ends the process.
    pub fn parse_from(line: impl IntoIterator<Item = OsString>) -> Self {
        let line: Vec<_> = line.into_iter().collect();
        let matches = called(line.first()).get_matches_from(line);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Runs the command. Errors go to standard error, with their causes.
    pub fn run(self) -> ExitCode {
        match self.command.run() {
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
    fn run(self) -> Ended {
        match self {
            Self::Serve(args) => ended(args.run()),
            Self::Reconcile(args) => ended(args.run()),
            Self::Sweep(args) => args.run(),
            Self::Daemon(args) => args.run(),
            Self::Check(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Policy(command) => command.run(),
            Self::Render(args) => args.run(),
            Self::Register(args) => ended(args.run()),
            Self::Unregister(args) => ended(args.run()),
            Self::Verify(args) => ended(args.run()),
            Self::Audit(command) => command.run(),
            Self::Uninstall(args) => ended(args.run()),
            Self::Certificate(args) => ended(args.run()),
            Self::Schedule(args) => args.run(),
            Self::Completions(args) => ended(args.run::<Cli>()),
            Self::Manpages(args) => ended(args.run::<Cli>()),
        }
    }
}

/// The command under the name by which it was called.
fn called(name: Option<&OsString>) -> clap::Command {
    let is_plugin = name.and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == PLUGIN);
    let command = Cli::command();
    if is_plugin { plugin(command).display_name(PLUGIN).bin_name("kubectl guard") } else { command }
}

/// A command and all below it with the examples of a plugin of kubectl.
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

    /// A command and all below it, by their full names.
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

    /// The lines of a help text's examples that call the program, as words.
    fn examples(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
        let examples = examples.split("\n\n").next().unwrap_or_default();
        let lines = examples.lines().filter_map(|line| line.split('|').find(|call| call.contains(NAME)));
        let parts = |line: &str| {
            let call = line.split('>').next().unwrap_or_default();
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
    fn every_command_with_more_than_three_options_has_examples_that_are_read() {
        for (name, command) in all() {
            let options = command.get_opts().filter(|option| !option.is_hide_set()).count();
            let examples = examples(&command);
            assert!(options <= 3 || !examples.is_empty(), "{name}: {options} options and no Examples:");
            for line in examples {
                assert!(line.join(" ").starts_with(&name), "{name}: {line:?} is of another command");
                let read = Cli::try_parse_from(&line);
                assert!(read.is_ok(), "{name}: {line:?}: {}", read.unwrap_err());
            }
        }
    }

    #[test]
    fn one_option_means_one_thing_in_all_commands() {
        for name in ["policy", "kubeconfig", "context", "install-namespace", "audit-store", "runs", "log"] {
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
        let name = OsString::from("/home/jane/.krew/bin/kubectl-guard");
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
