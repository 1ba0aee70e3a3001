//! `check --review` and `explain --review`: a recorded decision with its facts, evaluated again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::{CheckRequest, Checker, Requester};
use codex_k8s_webhook::record::replay::{self, Replay, RuleOutcome, Stored};
use codex_k8s_webhook::record::{Answer, Record, folder};
use codex_k8s_webhook::rules::report::{clean, problem};
use codex_k8s_webhook::rules::{Facts, ManagedNamespace};

use crate::{input, process};

/// Options that select a decision.
#[derive(Debug, clap::Args)]
#[group(id = "stored")]
pub(super) struct Args {
    /// Recorded decision or AdmissionReview in JSON, or `-` for standard input; for a directory of `serve --record`,
    /// list its decisions, or select one with --decision
    #[arg(long, value_name = "FILE|DIR")]
    review: Option<PathBuf>,
    /// Id of a decision in the --review directory, from `details.uid` of the denial, the audit annotation `decision-id`
    /// or the log
    #[arg(long, value_name = "ID", requires = "review")]
    decision: Option<String>,
}

/// The content that was requested.
pub(super) enum Content {
    /// One decision, evaluated again.
    One(Box<Replay>),
    /// The decisions of a folder.
    List(String),
}

impl Args {
    /// True if `--review` is given.
    pub(super) const fn is_given(&self) -> bool {
        self.review.is_some()
    }

    /// Evaluates the decision again under a policy.
    pub(super) fn replay(&self, policy: RunPolicy) -> anyhow::Result<Content> {
        let path = self.review.as_deref().context("--review: expected a file")?;
        let file = match &self.decision {
            Some(id) => found(path, id)?,
            None if path.is_dir() => return Ok(Content::List(list(path)?)),
            None => path.to_owned(),
        };
        let context = || format!("failed to replay {}", file.display());
        let stored = Stored::read(input::bytes(&file, u64::MAX)?).with_context(context)?;
        let replay = match stored {
            Stored::Record(record) => replay::record(&record, Arc::new(policy.into())),
            Stored::Review(body) => {
                let nobody = Requester { user: String::new(), groups: Vec::new() };
                let checker = Checker::new(policy, CheckRequest::creation(nobody));
                process::runtime()?.block_on(replay::review(&body, &checker))
            }
        };
        Ok(Content::One(Box::new(replay.with_context(context)?)))
    }
}

fn found(path: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let found = folder::find(path, id).with_context(|| format!("failed to read {}", path.display()))?;
    let Some(file) = found else {
        bail!(
            "{}: found no record of the decision {id:?}: it may have been deleted for newer records, dropped, or made by another replica",
            path.display()
        )
    };
    Ok(file)
}

/// Lists the decisions of a directory, one per line, oldest first, including those that cannot be read.
fn list(path: &Path) -> anyhow::Result<String> {
    let files = folder::list(path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut text = String::new();
    for (file, id) in files {
        let line = match input::bytes(&file, u64::MAX)
            .and_then(|bytes| Ok(serde_json::from_slice::<Record>(&bytes)?))
        {
            Ok(record) => summary(&record),
            Err(error) => format!("failed to read: {error:#}"),
        };
        let _ = writeln!(text, "{id}  {line}");
    }
    Ok(text)
}

fn summary(record: &Record) -> String {
    let text = |pointer| {
        let found = record.review.pointer(pointer).and_then(serde_json::Value::as_str);
        clean(found.unwrap_or_default())
    };
    let rules = record.verdict.rules.join(",");
    format!(
        "{}  {}  {} {} {}/{} by {}: {}{}{rules}",
        record.facts.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        record.entry.as_str(),
        text("/request/operation"),
        text("/request/kind/kind"),
        text("/request/namespace"),
        text("/request/name"),
        text("/request/userInfo/username"),
        record.verdict.result.describe(),
        if rules.is_empty() { "" } else { " by " },
    )
}

/// Formats a whole decision: request, facts, rules, verdict.
pub(super) fn human(replay: &Replay) -> String {
    let mut text = head(replay);
    let _ = writeln!(text, "\nFacts");
    for (name, fact) in facts(&replay.facts) {
        let _ = writeln!(text, "  {name:<11} {fact}");
    }
    let _ = writeln!(text, "\nRules");
    for rule in replay.rules.iter().filter(|rule| rule.outcome == RuleOutcome::Found) {
        let _ = writeln!(text, "  found         {} {}", rule.id, rule.title);
    }
    for (outcome, name) in [
        (RuleOutcome::Passed, "passed"),
        (RuleOutcome::OutOfScope, "out of scope"),
        (RuleOutcome::Off, "off"),
    ] {
        let ids: Vec<_> =
            replay.rules.iter().filter(|rule| rule.outcome == outcome).map(|rule| rule.id).collect();
        if !ids.is_empty() {
            let _ = writeln!(text, "  {name:<13} {}", ids.join(" "));
        }
    }
    let _ = writeln!(text, "\nVerdict");
    text.push_str(&verdict(replay));
    text
}

/// Formats the reasons for a decision: each finding with the purpose of its rule, and how to comply.
pub(super) fn why(replay: &Replay) -> String {
    let mut text = head(replay);
    for rule in replay.rules.iter().filter(|rule| rule.outcome == RuleOutcome::Found) {
        let _ = writeln!(text, "\n{}: {}", rule.id, rule.title);
        for found in &rule.findings {
            let _ = writeln!(text, "  {}: {}", found.path, problem(&found.found, &found.remedy));
        }
        let _ = writeln!(text, "  Why:    {}\n  Comply: {}", rule.why, rule.remedy);
    }
    let _ = writeln!(text);
    text.push_str(&verdict(replay));
    text
}

fn head(replay: &Replay) -> String {
    let object = [replay.namespace.as_deref().filter(|_| replay.kind != "Namespace"), replay.name.as_deref()];
    let object: Vec<_> = object.into_iter().flatten().map(clean).collect();
    let subresource = replay.subresource.as_ref().map(|name| format!("/{}", clean(name))).unwrap_or_default();
    let dry_run = if replay.dry_run { ", a dry run" } else { "" };
    let mut text = format!("Decision {}\n", clean(&replay.id));
    let _ = writeln!(text, "  requested by{}", clean(&replay.user));
    if !replay.groups.is_empty() {
        let _ = writeln!(text, "  in groups   {}", clean(&replay.groups.join(", ")));
    }
    let (operation, kind) = (replay.operation, clean(&replay.kind));
    let _ = writeln!(text, "  operation   {operation} {kind}{subresource} {}{dry_run}", object.join("/"));
    let _ = writeln!(text, "  call        {}", replay.entry.as_str());
    let _ = writeln!(text, "  policy      {}", replay.policy);
    text
}

fn facts(facts: &Facts) -> Vec<(&'static str, String)> {
    let namespace = facts.namespace.as_deref().map_or_else(|| "not a managed one".to_owned(), described);
    let requester = if facts.requester_is_managed {
        "a ServiceAccount of a managed namespace"
    } else {
        "of no managed namespace"
    };
    let mut all =
        vec![("now", facts.now.to_string()), ("namespace", namespace), ("requester", requester.to_owned())];
    all.extend(facts.run_holders.iter().map(|holder| ("same run", described(holder))));
    if !facts.named.is_empty() {
        all.push(("reaches", facts.named.join(", ")));
    }
    all.extend(facts.occupancy.iter().map(|occupancy| {
        let of = format!("{}: {} of {} taken", occupancy.scope, occupancy.holders.held, occupancy.max);
        ("occupancy", of)
    }));
    all
}

fn described(namespace: &ManagedNamespace) -> String {
    let mut text = format!(
        "{}: {}, run {}, project {}, Pod Security {}",
        clean(&namespace.name),
        namespace.mode,
        namespace.run_id,
        namespace.project_id,
        namespace.pod_security
    );
    if let Some(end) = namespace.expires_at {
        let _ = write!(text, ", lease until {end}");
    }
    text.push_str(if namespace.ready { ", ready" } else { ", not ready" });
    if let Some(waits_for) = &namespace.waits_for {
        let _ = write!(text, ": waits for {waits_for}");
    }
    if namespace.terminating {
        text.push_str(", being deleted");
    }
    text
}

fn verdict(replay: &Replay) -> String {
    let now = &replay.verdict;
    let Some(then) = &replay.recorded else { return answer(now.result.describe(), now) };
    if *now == then.verdict {
        let same = if then.policy == replay.policy { "" } else { "; it would be the same under this policy" };
        return answer(&format!("{}{same}", now.result.describe()), now);
    }
    let why = if then.policy == replay.policy {
        format!("by version {}; this is {}", then.version, env!("CARGO_PKG_VERSION"))
    } else {
        format!("under policy {}", then.policy)
    };
    let mut text = answer(&format!("was {} {why}", then.verdict.result.describe()), &then.verdict);
    text.push_str(&answer(&format!("would now be {}", now.result.describe()), now));
    text
}

fn answer(headline: &str, answer: &Answer) -> String {
    let code = answer.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let mut text = format!("  {headline}{code}\n");
    for line in answer.message.iter().flat_map(|message| message.lines()) {
        let _ = writeln!(text, "    {line}");
    }
    for warning in &answer.warnings {
        let _ = writeln!(text, "    warning: {warning}");
    }
    for operation in &answer.patch.0 {
        let _ = writeln!(text, "    {operation}");
    }
    text
}
