//! `check --live`: the verdict on the objects in a cluster, and the changes that another policy would make there.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use codex_k8s_webhook::check::live::read::{Progress, Reader};
use codex_k8s_webhook::check::live::{Change, Effect, Live, LiveCheck, Outcome, RolloutReport, kinds};
use codex_k8s_webhook::check::{Report, Severity, Verdict};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::{FailOn, Form, human};
use crate::cluster::ClusterArgs;
use crate::exit::Exit;
use crate::{installation, policy_file, process};

/// The timeouts for connecting to the API server and for its responses.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_mins(1);

const WORSE: Style = AnsiColor::Red.on_default();
const BETTER: Style = AnsiColor::Green.on_default();
const STRONG: Style = Style::new().bold();

/// Options for evaluating a live cluster.
#[derive(Debug, clap::Args)]
// There are two more of this name.
#[group(skip)]
pub(super) struct Args {
    /// Evaluate a live cluster instead of files: every managed namespace and the objects in it
    #[arg(long, conflicts_with_all = [
        "files", "old", "namespace_file", "ignore", "ignore_kind", "operation", "subresource"
    ])]
    live: bool,
    /// Resource to skip, for example because you may not list it (can be repeated)
    #[arg(long, requires = "live", value_name = "RESOURCE", value_parser = resources())]
    without: Vec<String>,
}

fn resources() -> PossibleValuesParser {
    PossibleValuesParser::new(kinds::LISTED.iter().map(|listed| listed.plural))
}

impl Args {
    pub(super) const fn is_given(&self) -> bool {
        self.live
    }
}

fn client(cluster: &ClusterArgs) -> anyhow::Result<Client> {
    let mut config = cluster.config()?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ANSWER);
    Client::try_from(config).context("failed to create a client for the cluster")
}

impl super::Args {
    /// Evaluates the cluster and prints the report.
    pub(super) fn live_check(&self) -> anyhow::Result<Exit> {
        let runtime = process::runtime()?;
        let in_use = installation::policy_in_use(&self.policy, &self.cluster, &self.install);
        let in_force = runtime.block_on(in_use).map_err(|failure| failure.error)?;
        let proposed = self.proposed.as_deref().map(policy_file::read).transpose()?;
        let now = self.now.unwrap_or_else(Timestamp::now);
        let requester = self.requester(&in_force);
        let mut live_check =
            LiveCheck::new(in_force, proposed.clone(), requester, now, self.namespace.is_none());
        let bar = bar();
        let show = |progress: Progress| show_progress(&bar, progress);
        let requests = runtime.block_on(async {
            let client = client(&self.cluster)?;
            let reader = Reader::new(client, self.namespace.as_deref(), &self.live.without, &show);
            reader.read(&mut live_check).await?;
            anyhow::Ok(reader.requests())
        });
        bar.finish_and_clear();
        match (live_check.finish(requests?, self.live.without.clone()), proposed) {
            (Outcome::Rollout(report), Some(proposed)) => {
                let fails = self.worsens(&report);
                let text = match self.output {
                    Form::Human => rollout(&report),
                    Form::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
                    Form::Yaml => serde_saphyr::to_string(&report)?,
                    Form::Sarif | Form::Junit | Form::Github => {
                        self.format_report(&report.into_report(&proposed), verdicts)?
                    }
                };
                self.ended(&text, fails)
            }
            (Outcome::Verdicts(report), _) => {
                self.ended(&self.format_report(&report, verdicts)?, self.fails(&report))
            }
            (Outcome::Rollout(_), None) => anyhow::bail!("failed to compare policies: --proposed is missing"),
        }
    }

    /// True if the changes need a review before the policy is rolled out.
    fn worsens(&self, report: &RolloutReport) -> bool {
        let summary = &report.summary;
        let warned = self.fail_on == FailOn::Warn && summary.otherwise > 0;
        summary.newly_denied + summary.expire_sooner > 0 || warned
    }
}

/// Creates a progress line, which is shown only on a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show_progress(bar: &ProgressBar, Progress { resource, done, of, read, left }: Progress) {
    let all = read + left;
    bar.set_message(format!("{resource} ({} of {of}): {read} of {all}", done + 1));
}

/// Formats the verdicts for people. Objects that are admitted unchanged are only counted.
fn verdicts(report: &Report) -> String {
    let is_reported = |evaluation: &&codex_k8s_webhook::check::Evaluation| {
        evaluation.result != Verdict::Admitted
            || evaluation.problems.iter().any(|problem| problem.severity == Severity::Warning)
    };
    let objects = report.objects.iter().filter(is_reported);
    let mut text: String = objects.map(|evaluation| human::object(evaluation, &Value::Null)).collect();
    if let Some(live) = &report.live {
        text.push_str(&closed(live));
        text.push_str(&cluster(live));
    }
    text.push_str(&human::summary(report));
    text.push_str(&human::advice(&report.objects));
    text
}

fn closed(live: &Live) -> String {
    let mut text = String::new();
    for (name, waits) in &live.closed {
        let _ = writeln!(text, "{STRONG}Namespace {name}{STRONG:#}: the gate is closed, waiting for {waits}");
    }
    text
}

fn cluster(live: &Live) -> String {
    let mut text = format!("{} managed namespaces", live.namespaces);
    if live.terminating > 0 {
        let _ = write!(text, " ({} being deleted, not evaluated)", live.terminating);
    }
    let _ = write!(text, ", {} requests", live.requests);
    if !live.left_out.is_empty() {
        let _ = write!(text, ", without {}", live.left_out.join(", "));
    }
    text.push('\n');
    text
}

/// Formats the changes that a policy would make, for people.
fn rollout(report: &RolloutReport) -> String {
    let mut text: String = report.changes.iter().map(change).collect();
    text.push_str(&cluster(&report.live));
    let summary = &report.summary;
    let counts = [
        (summary.newly_denied, "newly denied"),
        (summary.newly_admitted, "newly admitted"),
        (summary.otherwise, "decided differently"),
        (summary.expire_sooner, "deleted sooner"),
        (summary.expire_later, "deleted later"),
        (summary.baselines_change, "changed in a baseline"),
    ];
    let totals: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let totals = if totals.is_empty() { "nothing changes".to_owned() } else { totals.join(", ") };
    let _ = writeln!(text, "{} objects: {totals}", summary.objects);
    text.push_str(&human::advice(report.changes.iter().filter_map(|change| change.evaluation.as_ref())));
    text
}

fn change(change: &Change) -> String {
    let (colour, label) = match change.effect {
        Effect::NewlyDenied => (WORSE, "newly denied"),
        Effect::NewlyAdmitted => (BETTER, "newly admitted"),
        Effect::Otherwise => (Style::new(), "decided differently"),
        Effect::ExpiresSooner => (WORSE, "deleted sooner"),
        Effect::ExpiresLater => (BETTER, "deleted later"),
        Effect::BaselineChanges => (WORSE, "changed by reconcile"),
    };
    let what = change.what();
    let mut text = format!("{STRONG}{what}{STRONG:#}: {colour}{label}{colour:#}\n");
    for (sign, style, messages) in [("-", WORSE, &change.before), ("+", BETTER, &change.after)] {
        if !messages.is_empty() {
            let _ = writeln!(text, "    {style}{sign} {}{style:#}", messages.replace('\n', "\n      "));
        }
    }
    text
}
