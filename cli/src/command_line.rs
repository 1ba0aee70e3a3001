//! The command line of this process, to be repeated in a Pod of the installation.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The options for this machine: they select the cluster and the installation, and how a command runs there.
const HERE: [&str; 14] = [
    "kubeconfig",
    "context",
    "cluster",
    "user",
    "impersonate",
    "impersonate_groups",
    "request_timeout",
    "guard_namespace",
    "local",
    "start_timeout",
    "yes",
    "log",
    "log_level",
    "otlp_endpoint",
];

/// A command with its options and arguments, without the options for this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandLine(Vec<String>);

impl CommandLine {
    /// Reads the command line that was parsed.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut args = Vec::new();
        add(command, matches, &mut args);
        Self(args)
    }

    /// Returns the line with another word in front of its arguments.
    pub(crate) fn with(mut self, option: &str) -> Self {
        let end = self.0.iter().position(|word| word == "--").unwrap_or(self.0.len());
        self.0.insert(end, option.to_owned());
        self
    }

    /// Returns the line without an option.
    pub(crate) fn without(mut self, option: &str) -> Self {
        let assigned = format!("{option}=");
        self.0.retain(|word| word != option && !word.starts_with(&assigned));
        self
    }

    /// Returns it as arguments of the program.
    pub(crate) fn args(&self) -> &[String] {
        &self.0
    }
}

fn add(command: &Command, matches: &ArgMatches, args: &mut Vec<String>) {
    let given: Vec<_> = command.get_arguments().filter(|arg| is_passed_on(arg, matches)).collect();
    let (arguments, options): (Vec<&Arg>, Vec<&Arg>) = given.into_iter().partition(|arg| arg.is_positional());
    for option in options {
        let name = option.get_long().map_or_else(String::new, |long| format!("--{long}"));
        if option.get_action().takes_values() {
            args.extend(values(option, matches).into_iter().map(|value| format!("{name}={value}")));
        } else {
            args.push(name);
        }
    }
    if let Some((name, below)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        args.push(name.to_owned());
        add(command, below, args);
    }
    let arguments: Vec<_> = arguments.into_iter().flat_map(|arg| values(arg, matches)).collect();
    if !arguments.is_empty() {
        args.push("--".to_owned());
        args.extend(arguments);
    }
}

fn is_passed_on(arg: &Arg, matches: &ArgMatches) -> bool {
    let id = arg.get_id().as_str();
    let is_given = |source| matches!(source, ValueSource::CommandLine | ValueSource::EnvVariable);
    !HERE.contains(&id)
        && matches.ids().any(|known| known == id)
        && matches.value_source(id).is_some_and(is_given)
}

fn values(arg: &Arg, matches: &ArgMatches) -> Vec<String> {
    let raw = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    fn line(args: &str) -> CommandLine {
        let command = Cli::command();
        let matches = command.clone().get_matches_from(format!("guard {args}").split(' '));
        CommandLine::of(&command, &matches)
    }

    #[test]
    fn a_line_is_repeated_without_the_options_for_this_machine() {
        let cases = [
            ("sweep --yes --allow-mass-deletion 40", "sweep --allow-mass-deletion=40"),
            (
                "sweep --dry-run --context prod --guard-namespace a -o json",
                "sweep --dry-run=client --output=json",
            ),
            (
                "audit list codex-issue-1 --since 24h -f --as jane",
                "audit list --since=24h --follow -- codex-issue-1",
            ),
            ("explain ns/codex-issue-1 --kubeconfig file", "explain -- ns/codex-issue-1"),
        ];
        for (given, repeated) in cases {
            let mut args = line(given).args().to_vec();
            let mut expected: Vec<_> = repeated.split(' ').map(str::to_owned).collect();
            // The order of options is that of their definition.
            args.sort();
            expected.sort();
            assert_eq!(args, expected, "{given}");
        }
    }

    #[test]
    fn options_are_added_in_front_of_the_arguments_and_removed_with_their_values() {
        let shown = line("audit list codex-issue-1").with("--follow").args().join(" ");
        assert_eq!(shown, "audit list --follow -- codex-issue-1");
        assert_eq!(
            line("sweep --output json --no-lease").without("--output").args().join(" "),
            "sweep --no-lease"
        );
    }
}
