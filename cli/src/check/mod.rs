//! `check`: the verdict of the webhook on files or a live cluster.

mod files;
mod github;
mod human;
mod junit;
mod live;
pub(crate) mod sarif;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{ColorChoice, ValueEnum};
use clap_complete::ArgValueCandidates;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::live::RolloutReport;
use codex_k8s_webhook::check::{CONNECTIONS, CheckRequest, Checker, Contents, Evaluation, Report, Requester};
use codex_k8s_webhook::review::Operation;
use jiff::Timestamp;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::exit::{Ended, Exit, OrExit as _};
use crate::policy_file::PolicyArgs;
use crate::{completion, output, process};

pub(crate) use files::existing;

const HELP: &str = "\
Examples:
  codex-k8s-guard check manifests/
  kubectl get jobs -n team-a -o yaml | codex-k8s-guard check --policy policy.yaml --requester worker
  codex-k8s-guard check --strict --ignore 'charts/**' .
  codex-k8s-guard check job.yaml --operation update --old before.yaml
  codex-k8s-guard check --live --proposed new.yaml --output json

Exit codes:
  0  all objects are admitted
  1  an object is denied, is invalid or has drifted, or --proposed would newly deny or sooner delete one; with
     --fail-on warn, also if there are warnings; with --strict, also if a verdict rests on an assumption
  2  nothing was evaluated: invalid usage, files that are not or have no Kubernetes objects, an invalid policy, or
     an unreadable cluster";

/// Report what the webhook would decide about files or a live cluster
///
/// Evaluates the objects in files without a cluster. Each object is read as kubectl and the API server read it: a field
/// of the wrong type and an unknown field are errors. Then it is mutated and validated, as the API server would do it,
/// in a namespace from the same files or in the namespace that the webhook would make of its name; the report says so.
/// Baselines are assumed to be complete, and quota reservations to be available.
///
/// In folders, files and documents that are not for a cluster are passed over: values of Helm charts, kustomizations,
/// policies, and files without any object. A file that is named must have nothing but objects.
///
/// With --live, evaluates each object of each managed namespace of a cluster as if it were created now, and compares each
/// baseline with the policy. That is the installed policy, unless --policy names another. With --live and --proposed,
/// reports the differences between two policies. Nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Files and directories of YAML or JSON, or `-` for standard input (default: standard input)
    files: Vec<PathBuf>,
    #[command(flatten)]
    live: live::Args,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    /// Proposed policy file: print what it would change in the cluster
    #[arg(long, value_name = "FILE", requires = "live")]
    proposed: Option<PathBuf>,
    /// User that makes the requests (default: developer)
    ///
    /// `agent` is the ServiceAccount of each object's namespace, `worker` the first of the policy's managers. With
    /// --live, the default is the likely creator of each object: its controller, or the requester of its namespace.
    #[arg(long, value_name = "USER")]
    requester: Option<String>,
    /// Group of the requester (can be repeated)
    #[arg(long = "requester-group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Operation of the requests
    #[arg(long, value_enum, default_value = "create")]
    operation: Done,
    /// File with the old objects of an update or a deletion (can be repeated)
    ///
    /// By default, the old object of a deletion is the object that its creation would have stored.
    #[arg(long, value_name = "FILE")]
    old: Vec<PathBuf>,
    /// Subresource of the requests, such as `status` or `exec`
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Time of the requests, for leases: an RFC 3339 timestamp (default: now)
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Namespace of objects without one (default: `default`); with --live, evaluate only this namespace
    #[arg(long, short, value_name = "NAMESPACE", add = ArgValueCandidates::new(completion::namespaces))]
    namespace: Option<String>,
    /// File with existing namespaces, which are not evaluated (can be repeated)
    #[arg(long, value_name = "FILE")]
    namespace_file: Vec<PathBuf>,
    #[command(flatten)]
    ignored: files::Args,
    /// Fail if a verdict rests on an assumption, such as about a namespace that is not in the set
    #[arg(long, conflicts_with = "live")]
    strict: bool,
    /// Lowest verdict that makes the exit code 1
    #[arg(long, value_enum, default_value = "denied")]
    fail_on: FailOn,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
    /// Print the JSON Schema of --output json instead of evaluating; `rollout` is the schema of --live with --proposed
    #[arg(long, exclusive = true, value_enum, value_name = "REPORT", num_args = 0..=1, default_missing_value = "check")]
    schema: Option<Schema>,
    /// Use of colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Done {
    /// Create the objects
    Create,
    /// Update the objects, from those in --old
    Update,
    /// Delete the objects
    Delete,
    /// Connect to the --subresource of the objects, like `kubectl exec`
    Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Schema {
    /// Schema of `CheckReport`
    Check,
    /// Schema of `RolloutReport`
    Rollout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// An object is denied, or has drifted
    Denied,
    /// An object is denied, has drifted, or has a warning
    Warn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Text for people
    Human,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML: one suite per file, one case per object
    Junit,
    /// Workflow commands, which GitHub shows as annotations
    Github,
}

impl Args {
    /// Runs the command. Errors are objects that could not be evaluated.
    pub(super) fn run(self) -> Ended {
        self.evaluate().or_exit(Exit::Usage)
    }

    fn evaluate(&self) -> anyhow::Result<Exit> {
        if let Some(schema) = self.schema {
            let schema = match schema {
                Schema::Check => Report::json_schema(),
                Schema::Rollout => RolloutReport::json_schema(),
            };
            return output::print_json(&schema).map(|()| Exit::Done);
        }
        if self.live.is_given() {
            return self.live_check();
        }
        ensure!(!self.cluster.is_given(), "--kubeconfig, --context, --cluster and --user require --live");
        let policy = self.policy.read()?;
        self.is_connectable()?;
        let contents = self.ignored.contents(&self.files)?;
        for passed_over in &contents.passed_over {
            output::note(&format!(
                "{}:{}: passed over: {}",
                passed_over.file, passed_over.line, passed_over.reason
            ));
        }
        files::require_objects(&contents, &self.files)?;
        let Contents { documents, passed_over } = contents;
        let mut checker = Checker::new(policy.clone(), self.request(&policy));
        for file in self.namespace_file.iter().chain(&self.old) {
            checker.assume(&existing(file)?)?;
        }
        let evaluated = process::runtime()?.block_on(checker.evaluate_all(&documents))?;
        let report = Report { passed_over, ..Report::new(&policy, evaluated) };
        let human = |report: &Report| human::format_report(report, &documents);
        self.ended(&self.format_report(&report, human)?, self.fails(&report))
    }

    fn fails(&self, report: &Report) -> bool {
        let is_warned = self.fail_on == FailOn::Warn && report.summary.warned > 0;
        is_warned || report.objects.iter().any(Evaluation::fails)
    }

    /// Prints the report and returns the exit code.
    fn ended(&self, text: &str, fails: bool) -> anyhow::Result<Exit> {
        output::even_unread(output::print_coloured(text, self.color))?;
        Ok(if fails { Exit::Failed } else { Exit::Done })
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

    /// Returns an error if --operation connect has a --subresource that does not support it.
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
            requester: self.requester(policy).unwrap_or_else(|| self.requester_named("developer")),
            operation: match self.operation {
                Done::Create => Operation::Create,
                Done::Update => Operation::Update,
                Done::Delete => Operation::Delete,
                Done::Connect => Operation::Connect,
            },
            subresource: self.subresource.clone(),
            default_namespace: self.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            now: self.now,
            strict: self.strict,
        }
    }

    /// Returns the requester, if one is given.
    fn requester(&self, policy: &RunPolicy) -> Option<Requester> {
        match self.requester.as_deref() {
            None if self.groups.is_empty() => None,
            None => Some(self.requester_named("developer")),
            Some("worker") => {
                let managers = &policy.identities.managers.users;
                Some(self.requester_named(managers.first().map_or("worker", String::as_str)))
            }
            Some(user) => Some(self.requester_named(user)),
        }
    }

    fn requester_named(&self, user: &str) -> Requester {
        Requester { user: user.to_owned(), groups: self.groups.clone() }
    }
}
