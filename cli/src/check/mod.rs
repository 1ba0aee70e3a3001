//! `check`: the webhook's verdict on files, without a cluster.

mod files;
mod github;
mod human;
mod junit;
mod live;
mod sarif;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{ColorChoice, ValueEnum};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::live::RolloutReport;
use codex_k8s_webhook::check::{CONNECTIONS, CheckRequest, Checker, Report, Requester, Verdict};
use codex_k8s_webhook::review::Operation;
use jiff::Timestamp;

use crate::cluster::ClusterArgs;
use crate::exit::{Ended, Exit, OrExit as _};
use crate::policy::PolicyArgs;
use crate::{output, process, review};

const HELP: &str = "\
Examples:
  codex-k8s-guard check manifests/
  kubectl get jobs -n team-a -o yaml | codex-k8s-guard check --policy policy.yaml --as worker
  codex-k8s-guard check job.yaml --operation update --old before.yaml
  codex-k8s-guard check --live --policy policy.yaml --proposed new.yaml --output json

Exit codes:
  0  all is admitted
  1  something is denied or has drifted, or would be newly denied or sooner deleted under --proposed; with --fail-on
     warn, or warned about
  2  something could not be evaluated: bad usage, a file that holds no Kubernetes objects, no usable policy,
     a cluster that could not be read";

/// Tell what the webhook would say about the objects in files, without a cluster: each is fixed and then evaluated as the API
/// server would have it, in a namespace of the same files, or in what the webhook would make of one of that name. Baselines
/// are taken to be live, and places to be free.
///
/// With --live, about what is in a cluster: each object of each managed namespace as if it were created now, and each
/// baseline as the policy has it. With --live and --proposed, about what that policy would change. Nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Files and folders of YAML or JSON; `-`, or none, for standard input
    #[arg(conflicts_with = "review")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    review: review::Args,
    #[command(flatten)]
    live: live::Args,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Another policy: print what it would change in the cluster
    #[arg(long, value_name = "FILE", requires = "live")]
    proposed: Option<PathBuf>,
    /// Who does it: a user, `agent` for the ServiceAccount of each object's namespace, or `worker` for the first of the
    /// policy's managers. Without, `developer`; with --live, whoever seems to have made each object: its controller, or
    /// whoever asked for its namespace
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// A group of that user; may be given again
    #[arg(long = "as-group", value_name = "GROUP")]
    groups: Vec<String>,
    /// What is done to the objects
    #[arg(long, value_enum, default_value = "create")]
    operation: Done,
    /// The objects as they are before an update or a deletion; may be given again. Without, what is deleted is what
    /// creating it would have left
    #[arg(long, value_name = "FILE")]
    old: Vec<PathBuf>,
    /// What is done is done to this part of the objects only, such as `status` or `exec`
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// When it is done, for leases: now without it
    #[arg(long, value_name = "TIMESTAMP")]
    now: Option<Timestamp>,
    /// The namespace of objects that name none; `default` without it. With --live, the only one that is looked at
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Namespaces that are there already, and are not evaluated; may be given again
    #[arg(long, value_name = "FILE")]
    namespace_file: Vec<PathBuf>,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value = "denied")]
    fail_on: FailOn,
    /// The form of what is printed
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    /// Print the JSON Schema of what --output json prints, and evaluate nothing: of verdicts, or of what --live and --proposed
    /// print
    #[arg(long, exclusive = true, value_enum, value_name = "REPORT", num_args = 0..=1, default_missing_value = "check")]
    schema: Option<Schema>,
    /// Whether it is coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Done {
    /// They are created
    Create,
    /// They are changed, from what is in --old
    Update,
    /// They are deleted
    Delete,
    /// They are connected to, as `kubectl exec` does, by the --subresource
    Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Schema {
    /// `CheckReport`
    Check,
    /// `RolloutReport`
    Rollout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Something is denied, or has drifted
    Denied,
    /// Something is denied or warned about
    Warn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Human,
    /// For programs
    Json,
    /// For both
    Yaml,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML: a suite for each file, a case for each object
    Junit,
    /// Workflow commands, which GitHub shows beside the lines
    Github,
}

impl Form {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Args {
    /// Errors are what could not be evaluated.
    pub(super) fn run(self) -> Ended {
        self.evaluate().or_exit(Exit::Usage)
    }

    fn evaluate(&self) -> anyhow::Result<Exit> {
        if let Some(schema) = self.schema {
            let schema = match schema {
                Schema::Check => Report::json_schema(),
                Schema::Rollout => RolloutReport::json_schema(),
            };
            let schema = serde_json::to_string_pretty(&schema)?;
            return output::print(&format!("{schema}\n")).map(|()| Exit::Done);
        }
        if self.live.is_asked() {
            return self.live_check();
        }
        ensure!(!self.cluster.is_given(), "--kubeconfig and --context need --live");
        let policy = self.policy.read()?;
        if self.review.is_given() {
            return self.replay(policy);
        }
        self.is_connectable()?;
        let documents = files::documents(&self.files)?;
        let mut checker = Checker::new(policy.clone(), self.request(&policy));
        for file in self.namespace_file.iter().chain(&self.old) {
            checker.assume(&files::of_file(file)?);
        }
        let evaluated = process::runtime()?.block_on(checker.evaluate_all(&documents))?;
        let report = Report::new(&policy, evaluated);
        let human = |report: &Report| human::format_report(report, &documents);
        self.ended(&self.format_report(&report, human)?, self.fails(&report))
    }

    fn fails(&self, report: &Report) -> bool {
        let summary = &report.summary;
        summary.denied + summary.drifted > 0 || (self.fail_on == FailOn::Warn && summary.warned > 0)
    }

    /// Tells what came of it, and with what the program ends.
    fn ended(&self, text: &str, fails: bool) -> anyhow::Result<Exit> {
        output::even_unread(output::print_coloured(text, self.color))?;
        Ok(if fails { Exit::Failed } else { Exit::Done })
    }

    fn replay(&self, policy: RunPolicy) -> anyhow::Result<Exit> {
        let replay = match self.review.replay(policy)? {
            review::Content::One(replay) => replay,
            review::Content::List(list) => return output::print(&list).map(|()| Exit::Done),
        };
        output::print(&match self.output {
            Form::Human => review::human(&replay),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&replay)?),
            Form::Yaml => serde_saphyr::to_string(&replay)?,
            form => anyhow::bail!("--output {}: a review is text in human, json or yaml only", form.name()),
        })?;
        let is_warned = self.fail_on == FailOn::Warn && !replay.verdict.warnings.is_empty();
        Ok(if replay.verdict.result == Verdict::Denied || is_warned { Exit::Failed } else { Exit::Done })
    }

    fn format_report(&self, report: &Report, human: impl Fn(&Report) -> String) -> anyhow::Result<String> {
        Ok(match self.output {
            Form::Human => human(report),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
            Form::Yaml => serde_saphyr::to_string(report)?,
            Form::Sarif => sarif::format_report(report)?,
            Form::Junit => junit::format_report(report)?,
            Form::Github => github::format_report(report),
        })
    }

    /// Whether what is connected to is something that can be.
    fn is_connectable(&self) -> anyhow::Result<()> {
        let connections = CONNECTIONS.map(|(name, _)| name);
        let found = self.subresource.as_deref().unwrap_or("nothing");
        ensure!(
            self.operation != Done::Connect || connections.contains(&found),
            "--subresource: found {found}; expected what --operation connect connects to: {}",
            connections.join(", ")
        );
        Ok(())
    }

    fn request(&self, policy: &RunPolicy) -> CheckRequest {
        CheckRequest {
            requester: self.requester(policy).unwrap_or_else(|| self.whoever("developer")),
            operation: match self.operation {
                Done::Create => Operation::Create,
                Done::Update => Operation::Update,
                Done::Delete => Operation::Delete,
                Done::Connect => Operation::Connect,
            },
            subresource: self.subresource.clone(),
            default_namespace: self.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            now: self.now,
        }
    }

    /// Who does it, if that is said.
    fn requester(&self, policy: &RunPolicy) -> Option<Requester> {
        match self.user.as_deref() {
            None if self.groups.is_empty() => None,
            None => Some(self.whoever("developer")),
            Some("worker") => {
                let managers = &policy.identities.managers.users;
                Some(self.whoever(managers.first().map_or("worker", String::as_str)))
            }
            Some(user) => Some(self.whoever(user)),
        }
    }

    fn whoever(&self, user: &str) -> Requester {
        Requester { user: user.to_owned(), groups: self.groups.clone() }
    }
}
