//! Completion of command lines: the scripts of shells, the protocol of kubectl's plugins, and values of the cluster.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::time::Duration;

use clap::{Command, ValueEnum};
use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use codex_k8s_shared::keys;
use codex_k8s_webhook::rules::catalogue;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::cluster::ClusterArgs;
use crate::{output, process};

/// The variable by which a script of a shell requests completions of the program.
pub(crate) const VARIABLE: &str = "COMPLETE";
/// The file name under which kubectl finds the completions of its plugin `guard`.
pub(crate) const OF_KUBECTL: &str = "kubectl_complete-guard";
/// The directive of kubectl's protocol that the shell must not add names of files.
const NO_FILES: u8 = 4;
/// The time that the cluster may take, while a person waits at the prompt.
const TIMEOUT: Duration = Duration::from_secs(2);

const HELP: &str = "\
Examples:
  codex-k8s-guard completions bash > ~/.local/share/bash-completion/completions/codex-k8s-guard
  codex-k8s-guard completions fish > ~/.config/fish/completions/codex-k8s-guard.fish

For `kubectl guard`, link the program as kubectl-guard and as kubectl_complete-guard into a directory of PATH.";

/// Print a completion script for a shell
///
/// The script requests completions from the program, so that it stays valid after an upgrade. Completes commands, options,
/// their values, rule ids, contexts, and the namespaces of the current context.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Completions {
    /// Shell to generate the script for
    shell: Shell,
}

/// A shell with completion scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, crate::NAME, crate::NAME, crate::NAME, &mut script)?;
        output::print(&String::from_utf8(script)?)
    }
}

/// Prints the completions of the last of these arguments as kubectl reads them: one line each, and a directive.
pub(super) fn print_for_kubectl(mut command: Command, arguments: Vec<OsString>) -> anyhow::Result<()> {
    let last = arguments.len();
    let line = std::iter::once(OsString::from(crate::NAME)).chain(arguments).collect();
    let folder = std::env::current_dir().ok();
    output::print(&for_kubectl(&complete(&mut command, line, last, folder.as_deref())?))
}

fn for_kubectl(candidates: &[CompletionCandidate]) -> String {
    let mut text = String::new();
    for candidate in candidates {
        let _ = write!(text, "{}", candidate.get_value().to_string_lossy());
        if let Some(help) = candidate.get_help() {
            let _ = write!(text, "\t{}", help.to_string().lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    let _ = writeln!(text, ":{}", if candidates.is_empty() { 0 } else { NO_FILES });
    text
}

/// The ids of rules, and run namespaces as `ns/NAME`.
pub(super) fn subjects(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    if current.starts_with("ns/") {
        let named = run_namespaces().into_iter().map(|found| found.add_prefix("ns/"));
        return starting_with(named.collect(), &current);
    }
    let rule = |rule: &codex_k8s_webhook::rules::Rule| {
        CompletionCandidate::new(rule.id).help(Some(rule.title.into()))
    };
    let all = catalogue::all().map(rule).chain([CompletionCandidate::new("ns/")]);
    starting_with(all.collect(), &current)
}

fn starting_with(candidates: Vec<CompletionCandidate>, beginning: &str) -> Vec<CompletionCandidate> {
    let begins = |found: &CompletionCandidate| found.get_value().to_string_lossy().starts_with(beginning);
    candidates.into_iter().filter(begins).collect()
}

/// The run namespaces of the current context.
pub(super) fn run_namespaces() -> Vec<CompletionCandidate> {
    namespaces_with(&ListParams::default().labels(keys::MANAGED_BY)).unwrap_or_default()
}

/// All namespaces of the current context.
pub(super) fn namespaces() -> Vec<CompletionCandidate> {
    namespaces_with(&ListParams::default()).unwrap_or_default()
}

fn namespaces_with(params: &ListParams) -> anyhow::Result<Vec<CompletionCandidate>> {
    process::runtime()?.block_on(async {
        let api = Api::<Namespace>::all(ClusterArgs::default().client()?);
        let listed = tokio::time::timeout(TIMEOUT, api.list_metadata(params)).await??;
        Ok(listed.items.iter().map(|found| CompletionCandidate::new(found.name_any())).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_written_as_kubectl_reads_them() {
        let candidates = [
            CompletionCandidate::new("sweep").help(Some("Delete\nmore".into())),
            CompletionCandidate::new("audit"),
        ];
        assert_eq!(for_kubectl(&candidates), "sweep\tDelete\naudit\n:4\n");
        assert_eq!(for_kubectl(&[]), ":0\n", "names of files");
    }

    #[test]
    fn a_rule_is_completed_by_the_beginning_of_its_id_and_explained() {
        let found = subjects(OsStr::new("NS00"));
        assert!(found.len() > 5 && found.iter().all(|found| found.get_help().is_some()), "{found:?}");
        let kinds = subjects(OsStr::new("n"));
        assert_eq!(kinds.iter().map(CompletionCandidate::get_value).collect::<Vec<_>>(), ["ns/"]);
    }
}
