//! The report on a log as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use codex_k8s_webhook::check::replay::{Difference, Differences, ReplayReport, RequestChange};
use codex_k8s_webhook::rules::report::clean;

/// Maximum number of names of a group, and of requests, in the text. The other formats have more.
const LISTED: usize = 20;

/// Formats the report.
pub(super) fn format_report(report: &ReplayReport) -> String {
    let mut text = String::new();
    for change in report.changes.iter().take(LISTED) {
        describe(&mut text, change);
    }
    let (log, summary) = (&report.log, &report.summary);
    let total = summary.differences.total();
    if total > LISTED as u64 {
        let _ =
            writeln!(text, "... and {} more requests (--output json lists 1,000)\n", total - LISTED as u64);
    }
    for (title, group) in
        [("rule", &report.by_rule), ("user", &report.by_user), ("namespace", &report.by_namespace)]
    {
        table(&mut text, title, group);
    }
    let _ = writeln!(
        text,
        "{} lines, {} malformed, {} requests{}",
        log.lines,
        log.malformed,
        summary.requests,
        period(report)
    );
    let _ = writeln!(text, "  evaluated            {:>10}", summary.evaluated);
    let _ = writeln!(
        text,
        "    same result        {:>10}  ({} denied before)",
        summary.same, summary.recorded_denied
    );
    for (name, count) in columns(summary.differences) {
        let _ = writeln!(text, "    {name:<19}{count:>10}");
    }
    let _ = writeln!(text, "  not evaluated        {:>10}", summary.not_evaluated);
    for (reason, count) in &report.not_evaluated {
        let _ = writeln!(text, "    {count:>10}  {}", reason.describe());
    }
    let old = &report.old_objects;
    let _ = writeln!(
        text,
        "old objects: {} lookups, {} missed, {} evicted",
        old.lookups, old.missed, old.evicted
    );
    let _ = writeln!(text, "policy {}", report.policy);
    text
}

fn period(report: &ReplayReport) -> String {
    match (report.log.from, report.log.to) {
        (Some(from), Some(to)) => format!(" from {from:.0} to {to:.0}"),
        _ => String::new(),
    }
}

fn describe(text: &mut String, change: &RequestChange) {
    let difference = match change.difference {
        Difference::NewlyDenied => "newly denied",
        Difference::NewlyAdmitted => "newly admitted",
        Difference::OtherwiseMutated => "otherwise mutated",
    };
    let what = clean(&change.what());
    let _ = writeln!(
        text,
        "{difference}: {:.0} {} {what} by {}",
        change.time,
        change.operation,
        clean(&change.user)
    );
    let _ = writeln!(text, "  audit event {}, was {}", clean(&change.audit_id), change.before.describe());
    if change.difference == Difference::NewlyAdmitted {
        let _ = writeln!(text, "  denied before by {}", clean(&change.rules_before.join(", ")));
    }
    for line in change.message.iter().flat_map(|message| message.lines()) {
        let _ = writeln!(text, "  {line}");
    }
    for operation in &change.patch.0 {
        let _ = writeln!(text, "  {}", clean(&operation.to_string()));
    }
    text.push('\n');
}

/// Formats a group: the names with the most differences first.
fn table(text: &mut String, title: &str, group: &BTreeMap<String, Differences>) {
    if group.is_empty() {
        return;
    }
    let mut rows: Vec<_> = group.iter().collect();
    rows.sort_by_key(|(_, differences)| std::cmp::Reverse(differences.total()));
    let header = columns(Differences::default()).map(|(name, _)| format!("{name:>19}"));
    let _ = writeln!(text, "by {title:<41}{}", header.concat());
    for (name, differences) in rows.iter().take(LISTED) {
        let name = if name.is_empty() { "(cluster-scoped)".to_owned() } else { clean(name) };
        let counts = columns(**differences).map(|(_, count)| format!("{count:>19}"));
        let _ = writeln!(text, "  {name:<42}{}", counts.concat());
    }
    if let Some(more) = rows.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "  ... and {more} more");
    }
    text.push('\n');
}

const fn columns(differences: Differences) -> [(&'static str, u64); 3] {
    [
        ("newly denied", differences.newly_denied),
        ("newly admitted", differences.newly_admitted),
        ("otherwise mutated", differences.otherwise_mutated),
    ]
}
