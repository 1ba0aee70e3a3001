//! `explain`: the rules, a rule, a namespace, or a single request.

mod namespace;
mod review;
mod rules;

use std::path::PathBuf;

use clap_complete::ArgValueCompleter;

use crate::command_line::CommandLine;
use crate::connect::CleanupArgs;
use crate::exit::{self, Ended, Failure, ended};
use crate::{completion, output};

fn help() -> String {
    let examples = "\
Examples:
  codex-k8s-guard explain
  codex-k8s-guard explain NS007
  codex-k8s-guard explain ns/codex-issue-demo
  grep 3f2b8c1e-9d47 audit.log | codex-k8s-guard explain --review -";
    format!("{examples}\n\n{}", exit::HELP)
}

/// Explain the rules, a rule, a namespace or a request
///
/// Without an argument, lists all rules. Explains a rule by its id, why a namespace is retained or deleted by ns/NAME,
/// and a single AdmissionReview or audit event with --review. Changes nothing. A namespace, which may be gone, is
/// explained in the installation: by a Job with its policy, audit store, runs and identity.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
    /// Id of a rule, such as NS001, or ns/NAME of a namespace (default: list all rules)
    #[arg(value_name = "RULE|ns/NAME", conflicts_with = "review", add = ArgValueCompleter::new(completion::subjects))]
    subject: Option<String>,
    /// Print the rule catalogue as Markdown (docs/rules.md)
    #[arg(long, conflicts_with = "subject")]
    markdown: bool,
    /// AdmissionReview or event of the API server's audit log in JSON, or `-` for standard input
    ///
    /// It is evaluated in the namespace that the webhook would make of its name. Without --policy, the default policy
    /// applies.
    #[arg(long, value_name = "FILE")]
    review: Option<PathBuf>,
    #[command(flatten)]
    policy: CleanupArgs,
    #[command(flatten)]
    namespace: namespace::NamespaceArgs,
}

impl Args {
    pub(super) fn run(self, line: &CommandLine) -> Ended {
        if self.markdown {
            return ended(output::print(&rules::markdown()));
        }
        if let Some(file) = &self.review {
            let policy = self.policy.read().map_err(|failure| Failure::from(failure.error))?;
            return ended(review::format_file(file, policy).and_then(|text| output::print(&text)));
        }
        let Some(subject) = &self.subject else { return ended(output::print(&rules::table())) };
        match namespace_of(subject) {
            Some(name) => {
                let name = name.to_owned();
                self.namespace.run(name, &self.policy, line)
            }
            None => ended(rules::rule(subject).and_then(|text| output::print(&text))),
        }
    }
}

/// Parses the name of a namespace in the `ns/NAME` syntax of kubectl.
fn namespace_of(subject: &str) -> Option<&str> {
    let (kind, name) = subject.split_once('/')?;
    let is_namespace = ["ns", "namespace", "namespaces"].contains(&kind) && !name.is_empty();
    is_namespace.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_as_for_kubectl_and_all_else_is_a_rule() {
        assert_eq!(namespace_of("ns/codex-issue-demo"), Some("codex-issue-demo"));
        assert_eq!(namespace_of("namespace/demo"), Some("demo"));
        for subject in ["NS007", "ns/", "job/demo", "codex-issue-demo"] {
            assert_eq!(namespace_of(subject), None, "{subject}");
        }
    }
}
