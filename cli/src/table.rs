//! Tables for `--output human`.

use std::fmt::Write as _;

use codex_k8s_gc::sweep::report::{Line, Outcome, Report};
use codex_k8s_gc::times::{relative, whole};
use codex_k8s_shared::audit::Row;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

/// Formats a table like those of kubectl: without lines and without wrapping.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim());
    }
    text
}

/// Formats the report of a sweep.
pub(super) fn report(report: &Report) -> String {
    let now = report.finished_at;
    let mut text = match report.namespaces.as_slice() {
        [] => "no managed namespaces\n".to_owned(),
        lines => {
            let header = ["NAMESPACE", "VERDICT", "WHEN", "REASON"];
            table(&header, lines.iter().map(|line| row(line, now)))
        }
    };
    for tripped in &report.breaker {
        let _ = writeln!(text, "\nBREAKER {}: {}", tripped.code, tripped.message);
    }
    if !report.breaker.is_empty() {
        text.push_str(&advice(report));
    }
    for leak in &report.leaks {
        let _ = writeln!(text, "\nLEFT OVER: {}\n  {}", leak.what, leak.command);
    }
    let _ = writeln!(text, "\n{}", summary(report));
    text
}

fn advice(report: &Report) -> String {
    if report.breaker.iter().all(|tripped| tripped.can_be_allowed) {
        let (left, deleted) = (report.left(), report.deleted());
        let done = match deleted {
            0 => "Nothing was deleted.".to_owned(),
            _ => format!("Only {deleted} namespaces whose own lease is over were deleted."),
        };
        format!(
            "{done} Check the verdicts above. If they are right, allow the deletions in one run:\n  \
             codex-k8s-guard sweep --allow-mass-deletion={left}\n"
        )
    } else {
        "Nothing was deleted, and nothing will be deleted until this is fixed.\n".to_owned()
    }
}

fn summary(report: &Report) -> String {
    let (managed, due) = (report.managed(), report.due());
    if report.dry_run != "none" {
        return format!("{managed} managed, {due} due; nothing was deleted (dry run: {})", report.dry_run);
    }
    let mut text = format!("{managed} managed, {due} due, {} deleted", report.deleted());
    for (count, what) in [
        (report.failed(), "failed"),
        (report.stuck(), "still being deleted"),
        (report.postponed(), "postponed to the next sweep"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if !report.complete {
        text.push_str("; the sweep ended early");
    }
    text
}

fn row(line: &Line, now: Timestamp) -> Vec<String> {
    let (verdict, reason) = match &line.outcome {
        None => (line.verdict.to_owned(), line.message.clone()),
        Some(Outcome::Deleted) => ("deleted".to_owned(), line.message.clone()),
        Some(Outcome::AlreadyDeleted) => ("gone".to_owned(), "another client has deleted it".to_owned()),
        Some(Outcome::Postponed) => ("next sweep".to_owned(), line.message.clone()),
        Some(Outcome::WouldDelete) => ("would delete".to_owned(), line.message.clone()),
        Some(Outcome::Retained { message, .. }) => ("retain".to_owned(), message.clone()),
        Some(Outcome::Failed { error }) => ("failed".to_owned(), error.clone()),
        Some(Outcome::Terminating { blockers }) => ("deleting".to_owned(), blockers.join("; ")),
    };
    let reason = if line.is_lasting { format!("{reason} (!)") } else { reason };
    let when = line.until.or(line.lease_expires_at).map(|time| relative(time, now)).unwrap_or_default();
    vec![line.namespace.clone(), verdict, when, reason]
}

/// Formats audit rows.
pub(super) fn rows(rows: &[Row], header: bool) -> String {
    let columns = ["TIME", "EVENT", "NAMESPACE", "RUN", "REASON", "DECISION", "DETAILS"];
    let line = |row: &Row| {
        let payload = &row.event.payload;
        let event = row.event.event_type.as_str().trim_start_matches("run.namespace.");
        let details = payload.error.iter().chain(&payload.guardrail_details).cloned().collect::<Vec<_>>();
        let decision = payload.decision_id.as_deref().unwrap_or_default();
        vec![
            whole(row.event.created_at),
            event.to_owned(),
            payload.namespace.clone(),
            payload.run_id.clone(),
            payload.reason.clone().unwrap_or_default(),
            decision.chars().take(8).collect(),
            details.join("; "),
        ]
    };
    let text = table(&columns, rows.iter().map(line));
    if header { text } else { text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default() }
}
