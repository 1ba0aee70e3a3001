//! Trace spans of reviews.

use codex_k8s_shared::telemetry::SPANS;
use tracing::Span;
use tracing::field::Empty;

use crate::decision::Decided;
use crate::review::{AdmissionRequest, Entry};

/// Returns the span of a review.
pub(super) fn span(entry: Entry, request: &AdmissionRequest<'_>) -> Span {
    tracing::info_span!(
        target: SPANS,
        "review",
        otel.kind = "server",
        decision_id = &*request.uid,
        entry = entry.as_str(),
        operation = request.operation.as_str(),
        kind = &*request.kind.kind,
        namespace = request.namespace(),
        name = request.name(),
        user = &*request.user_info.username,
        dry_run = request.is_dry_run(),
        verdict = Empty,
        rules = Empty,
    )
}

/// Adds the outcome and its rules to a span.
pub(super) fn record(span: &Span, decided: &Decided) {
    if span.is_disabled() {
        return;
    }
    let mut rules: Vec<_> = decided.findings.iter().map(|finding| finding.rule.id).collect();
    rules.dedup();
    span.record("verdict", verdict(decided));
    span.record("rules", rules.join(","));
}

fn verdict(decided: &Decided) -> &'static str {
    let outcome = &decided.outcome;
    match (&outcome.denial, decided.findings.is_empty()) {
        // A denial without a rule: a fact was unavailable.
        (Some(_), true) => "failed",
        (Some(_), false) => "denied",
        (None, _) if !outcome.patch.0.is_empty() => "mutated",
        (None, false) => "warned",
        (None, true) => "allowed",
    }
}
