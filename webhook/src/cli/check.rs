//! `check`: the webhook's verdict on files, without a cluster.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::{output, policy, review};
use crate::check::{Checker, Document, Judgement, Requester, Verdict, read};

/// All is admitted.
const ADMITTED: u8 = 0;
/// Something is denied.
const DENIED: u8 = 1;
/// Something could not be judged.
const UNJUDGED: u8 = 2;

/// Tell what the webhook would say about the creation of the objects in files, without a cluster: each is mended and then
/// judged as the API server would have it, in a namespace of the same files, or in what the webhook would make of one of
/// that name.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes:\n  0  all is admitted\n  1  something is denied; with --fail-on warn, or warned about\n  2  something could not be judged: bad usage, a file that holds no Kubernetes objects, no usable policy"
)]
pub(super) struct Args {
    /// Files and folders of YAML or JSON; `-`, or none, for standard input
    #[arg(conflicts_with = "review")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    review: review::Args,
    /// The policy; the platform's own values without one
    #[arg(long, value_name = "FILE", env = "CODEX_K8S_WEBHOOK_POLICY")]
    policy: Option<PathBuf>,
    /// Who creates them: a user, `agent` for the ServiceAccount of each object's namespace, or `worker` for the first of
    /// the policy's managers
    #[arg(long = "as", value_name = "USER", default_value = "developer")]
    user: String,
    /// A group of that user; may be given again
    #[arg(long = "as-group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The namespace of objects that name none
    #[arg(long, short, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// Namespaces that are there already, and are not judged
    #[arg(long, value_name = "FILE")]
    namespace_file: Vec<PathBuf>,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value = "denied")]
    fail_on: FailOn,
    /// The form of what is printed
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Something is denied
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
}

impl Args {
    /// Errors are what could not be judged.
    pub(super) fn run(self) -> ExitCode {
        match self.judge() {
            Ok(code) => code.into(),
            Err(error) if output::is_closed_pipe(&error) => ADMITTED.into(),
            Err(error) => {
                output::complain(&error);
                UNJUDGED.into()
            }
        }
    }

    fn judge(&self) -> anyhow::Result<u8> {
        let policy = self.policy.as_deref().map(policy::read).transpose()?.unwrap_or_default();
        if self.review.is_given() {
            return self.replay(policy);
        }
        let documents = documents(&self.files)?;
        let requester = self.requester(&policy);
        let checker = Checker::new(policy, requester, self.namespace.clone());
        for file in &self.namespace_file {
            checker.assume(&of_file(file)?);
        }
        let judged = super::runtime()?.block_on(checker.judge_all(&documents))?;
        output::print(&match self.output {
            Form::Human => human(&judged),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&judged)?),
            Form::Yaml => serde_saphyr::to_string(&judged)?,
        })?;
        let is_denied = |judged: &Judgement| judged.result == Verdict::Denied;
        let is_warned = |judged: &Judgement| self.fail_on == FailOn::Warn && !judged.warnings.is_empty();
        let fails = judged.iter().any(|judged| is_denied(judged) || is_warned(judged));
        Ok(if fails { DENIED } else { ADMITTED })
    }

    fn replay(&self, policy: RunPolicy) -> anyhow::Result<u8> {
        let replay = match self.review.replay(policy)? {
            review::Shown::One(replay) => replay,
            review::Shown::List(list) => return output::print(&list).map(|()| ADMITTED),
        };
        output::print(&match self.output {
            Form::Human => review::human(&replay),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&replay)?),
            Form::Yaml => serde_saphyr::to_string(&replay)?,
        })?;
        let is_warned = self.fail_on == FailOn::Warn && !replay.verdict.warnings.is_empty();
        Ok(if replay.verdict.result == Verdict::Denied || is_warned { DENIED } else { ADMITTED })
    }

    fn requester(&self, policy: &RunPolicy) -> Requester {
        let managers = &policy.identities.managers.users;
        let user = match self.user.as_str() {
            "worker" => managers.first().cloned().unwrap_or_else(|| self.user.clone()),
            user => user.to_owned(),
        };
        Requester { user, groups: self.groups.clone() }
    }
}

fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    if files.is_empty() {
        return of_file(Path::new("-"));
    }
    let mut documents = Vec::new();
    for file in files {
        if file.is_dir() {
            for file in manifests(file)? {
                documents.extend(of_file(&file)?);
            }
        } else {
            documents.extend(of_file(file)?);
        }
    }
    Ok(documents)
}

/// The manifests of a folder and of those in it, by name.
fn manifests(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("failed to read {}", folder.display());
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>())
        .with_context(failed)?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let is_manifest = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if path.is_dir() && !path.is_symlink() {
            files.extend(manifests(&path)?);
        } else if is_manifest {
            files.push(path);
        }
    }
    Ok(files)
}

fn of_file(file: &Path) -> anyhow::Result<Vec<Document>> {
    let mut bytes = Vec::new();
    let name = file.display().to_string();
    if name == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).context("failed to read standard input")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("failed to read {name}"))?;
    }
    Ok(read(&name, &bytes)?)
}

fn human(judged: &[Judgement]) -> String {
    let mut text = String::new();
    for judgement in judged {
        let _ = writeln!(text, "{}", headline(judgement));
        for line in judgement.message.iter().flat_map(|message| message.lines()) {
            let _ = writeln!(text, "    {line}");
        }
        for warning in &judgement.warnings {
            let _ = writeln!(text, "    warning: {warning}");
        }
        if judgement.result != Verdict::Denied {
            for operation in &judgement.patch.0 {
                let _ = writeln!(text, "    {}", change(operation));
            }
        }
    }
    let count = |verdict| judged.iter().filter(|judgement| judgement.result == verdict).count();
    let counts = [
        (count(Verdict::Admitted), "admitted"),
        (count(Verdict::Mended), "mended"),
        (count(Verdict::Denied), "denied"),
        (count(Verdict::NotOurs), "not ours"),
    ];
    let told: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let _ = writeln!(text, "{} objects: {}", judged.len(), told.join(", "));
    text
}

fn headline(judgement: &Judgement) -> String {
    let place = judgement.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let verdict = match judgement.result {
        Verdict::NotOurs => "not ours",
        Verdict::Admitted => "admitted",
        Verdict::Mended => "admitted, mended",
        Verdict::Denied => "denied",
    };
    let Judgement { file, line, kind, name, .. } = judgement;
    format!("{file}:{line}: {kind} {place}{name}: {verdict}")
}

/// A step of a patch, in one line.
fn change(operation: &json_patch::PatchOperation) -> String {
    let operation = serde_json::to_value(operation).unwrap_or_default();
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = text("path").replace("~1", "/").replace("~0", "~");
    match operation.get("value") {
        Some(value) => format!("+ {path}: {value}"),
        None => format!("- {path}"),
    }
}
