//! The newly denied requests of a log in SARIF.

use codex_k8s_webhook::check::replay::{Difference, ReplayReport, RequestChange};
use serde_sarif::sarif::{Location, LogicalLocation, Message, Result as Finding, ResultLevel};

use crate::check::sarif::format_results;

/// Formats the report: each rule that newly denies a request is a result.
pub(super) fn format_report(report: &ReplayReport) -> serde_json::Result<String> {
    let denied = report.changes.iter().filter(|change| change.difference == Difference::NewlyDenied);
    let results = denied.flat_map(|change| change.rules_after.iter().map(|rule| result(change, rule)));
    format_results(results.collect())
}

fn result(change: &RequestChange, rule: &str) -> Finding {
    let what = change.what();
    let message = change.message.as_deref().unwrap_or_default();
    let text = format!("{} {what} by {} at {}: {message}", change.operation, change.user, change.time);
    let object = LogicalLocation::builder().fully_qualified_name(what).kind("object").build();
    Finding::builder()
        .rule_id(rule)
        .level(ResultLevel::Error)
        .message(Message::builder().text(text).build())
        .locations(vec![Location::builder().logical_locations(vec![object]).build()])
        .build()
}
