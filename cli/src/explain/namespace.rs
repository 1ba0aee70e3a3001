//! `explain ns/NAME`: the reason why a namespace would be deleted or retained.

use std::fmt::Write as _;

use codex_k8s_gc::clock::Clock;
use codex_k8s_gc::cluster::Cluster;
use codex_k8s_gc::cluster::work::Deadline;
use codex_k8s_gc::plan::Planned;
use codex_k8s_gc::runs::Runs;
use codex_k8s_gc::sweep::report::Line;
use codex_k8s_gc::times;
use codex_k8s_shared::audit::{EventType, Filter, Row, Store};
use codex_k8s_shared::cleanup::{Candidate, Run, Work};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::InstallArgs;
use crate::command_line::CommandLine;
use crate::connect::{CleanupArgs, RunsArgs, StoreArgs, SweepClusterArgs};
use crate::exit::{Ended, Exit, Failure, OrExit as _};
use crate::output::Form;
use crate::process;
use crate::remote::RemoteArgs;

/// The maximum number of audit rows to print.
const ROWS: u32 = 20;

/// Options for explaining a namespace.
#[derive(Debug, clap::Args)]
pub(super) struct NamespaceArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    install: InstallArgs,
    #[command(flatten)]
    cluster: SweepClusterArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Evaluate at this time, an RFC 3339 timestamp (default: now)
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    namespace: String,
    now: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Line>,
    facts: Vec<(&'static str, String)>,
    rows: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    at: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    details: Vec<String>,
}

impl NamespaceArgs {
    /// Explains a namespace, on this machine under a policy that is named, or in the installation.
    pub(super) fn run(self, name: String, policy: &CleanupArgs, line: &CommandLine) -> Ended {
        let runtime = process::runtime()?;
        if self.remote.is_local(&[policy.own(), self.store.own(true), self.runs.own()])? {
            return runtime.block_on(self.explain(name, &policy.read()?));
        }
        runtime.block_on(self.remote.find_and_run(self.cluster.args(), &self.install, line))
    }

    async fn explain(self, name: String, policy: &RunPolicy) -> Ended {
        let cluster = self.cluster.connect()?;
        let now = self.now.unwrap_or_else(|| Clock::of_this_machine().now());
        let filter = Filter { namespace: Some(name.clone()), limit: Some(ROWS), ..Filter::default() };
        let rows = match self.store.open_existing().await? {
            Some(store) => store.rows(&filter).await.or_exit(Exit::Database)?,
            None => vec![],
        };
        let runs = self.runs.source()?.open().await.or_exit(Exit::Database)?;
        let planned = planned(&cluster, &runs, policy, &name, now).await?;
        let explanation = Explanation {
            namespace: name,
            now,
            verdict: planned.as_ref().map(Line::new),
            facts: planned.as_ref().map(|planned| facts(&planned.candidate)).unwrap_or_default(),
            rows: rows.iter().map(entry).collect(),
        };
        self.output.print(&explanation, text)?;
        Ok(Exit::Done)
    }
}

async fn planned(
    cluster: &Cluster,
    runs: &Runs,
    policy: &RunPolicy,
    name: &str,
    now: Timestamp,
) -> Result<Option<Planned>, Failure> {
    let Some(mut candidate) = cluster.fresh(name).await.or_exit(Exit::Cluster)? else { return Ok(None) };
    if candidate.label(keys::MANAGED_BY).is_some() {
        let deadline = Deadline { now, to_start: policy.cleanup.work_grace };
        candidate.work = cluster.work(name, deadline).await.or_exit(Exit::Cluster)?;
        runs.add_states(std::slice::from_mut(&mut candidate)).await.or_exit(Exit::Database)?;
    }
    Ok(Some(Planned::new(policy, now, candidate)))
}

/// Returns the facts that the decision is based on.
fn facts(candidate: &Candidate) -> Vec<(&'static str, String)> {
    let missing = || "(none)".to_owned();
    let annotation = |key| candidate.annotation(key).map_or_else(missing, str::to_owned);
    let label = |key| candidate.label(key).map_or_else(missing, str::to_owned);
    let run = match &candidate.run {
        Run::NotRequested => "unknown: no database is configured".to_owned(),
        Run::Unknown => "not found in the database".to_owned(),
        Run::Active { status } => status.clone(),
        Run::Ended { outcome, at } => {
            let at = at.map(|at| format!(" at {}", times::whole(at))).unwrap_or_default();
            format!("{outcome:?}{at}").to_lowercase()
        }
    };
    let work = match &candidate.work {
        Work::NotInspected => "not inspected".to_owned(),
        Work::Idle => "nothing".to_owned(),
        Work::Active { found, scheduled } if scheduled.is_empty() => {
            format!("{}; none of its Pods is scheduled", found.join(" "))
        }
        Work::Active { found, .. } => found.join(" "),
    };
    vec![
        ("run", label(keys::RUN_ID)),
        ("state of the run", run),
        ("mode", label(keys::RUNTIME_MODE)),
        ("requested by", annotation(keys::REQUESTED_BY)),
        ("created", candidate.created_at.map_or_else(missing, times::whole)),
        ("lease ends", annotation(keys::NAMESPACE_LEASE_EXPIRES_AT)),
        ("lease lasts", annotation(keys::NAMESPACE_LEASE_TTL)),
        ("hold", annotation(keys::HOLD)),
        ("at work", work),
        ("gate", gate(candidate)),
    ]
}

/// Formats the state of the gate and the reason why it is closed, as the reconciler wrote them.
fn gate(candidate: &Candidate) -> String {
    let reason = candidate.annotation(keys::BASELINE_WAITS_FOR);
    match (candidate.annotation(keys::BASELINE_READY_AT), reason) {
        (Some(at), _) => format!("open since {at}"),
        (None, Some(reason)) => format!("closed: waits for {reason}"),
        (None, None) => "closed".to_owned(),
    }
}

fn entry(row: &Row) -> Entry {
    let payload = &row.event.payload;
    Entry {
        at: row.event.created_at,
        event: row.event.event_type.as_str(),
        reason: payload.reason.clone(),
        details: payload.error.iter().chain(&payload.guardrail_details).cloned().collect(),
    }
}

fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    let name = &explanation.namespace;
    let _ = match &explanation.verdict {
        None => writeln!(text, "{name} does not exist{}", last_end(explanation)),
        Some(line) => writeln!(text, "{name}: {}", sentence(line, explanation.now)),
    };
    for (what, value) in &explanation.facts {
        let _ = writeln!(text, "  {what:<17} {value}");
    }
    if !explanation.rows.is_empty() {
        let _ = writeln!(text, "\nPrevious decisions:");
    }
    for row in &explanation.rows {
        let reason = row.reason.as_deref().unwrap_or_default();
        let details = row.details.join("; ");
        let line = format!("  {}  {} {reason} {details}", times::whole(row.at), row.event);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn last_end(explanation: &Explanation) -> String {
    let cleaned = EventType::Cleaned.as_str();
    match explanation.rows.iter().rfind(|row| row.event == cleaned) {
        Some(row) => format!(
            ": it was deleted at {} ({})",
            times::whole(row.at),
            row.reason.as_deref().unwrap_or_default()
        ),
        None => ", and no audit row records its deletion".to_owned(),
    }
}

fn sentence(line: &Line, now: Timestamp) -> String {
    let message = &line.message;
    match (line.verdict, line.until) {
        ("delete", _) => format!("the next sweep deletes it: {message}"),
        (_, Some(until)) => {
            format!("retained until {} ({}): {message}", times::whole(until), times::relative(until, now))
        }
        _ => format!("retained: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_explained_by_the_reason_for_which_it_is_closed() {
        let with = |annotations: &[(&str, &str)]| {
            let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            gate(&Candidate { annotations: annotations.collect(), ..Candidate::default() })
        };
        let waits = (keys::BASELINE_WAITS_FOR, "the removal of Pod root (JOB017)");
        assert_eq!(with(&[]), "closed");
        assert_eq!(with(&[waits]), "closed: waits for the removal of Pod root (JOB017)");
        let ready = (keys::BASELINE_READY_AT, "2026-02-01T12:00:00Z");
        assert_eq!(with(&[ready]), "open since 2026-02-01T12:00:00Z");
    }
}
