//! A span about each sweep, for the trace collector.

use std::fmt::Display;

use codex_k8s_shared::last_sweep::LastSweep;
use codex_k8s_shared::telemetry::SPANS;
use tracing::Span;
use tracing::field::{Empty, display};

/// Returns the span of a sweep that starts.
pub(crate) fn span(is_dry_run: bool) -> Span {
    tracing::info_span!(
        target: SPANS,
        "sweep",
        dry_run = is_dry_run,
        result = Empty,
        managed = Empty,
        due = Empty,
        deleted = Empty,
        failed = Empty,
        error = Empty,
    )
}

/// Adds the outcome to a span.
pub(crate) fn record(span: &Span, outcome: &LastSweep) {
    span.record("result", outcome.result.as_str());
    span.record("managed", outcome.managed);
    span.record("due", outcome.due);
    span.record("deleted", outcome.deleted);
    span.record("failed", outcome.failed);
}

/// Adds the error that ended the sweep, or kept it from starting, to a span.
pub(crate) fn record_error(span: &Span, error: &impl Display) {
    span.record("error", display(error));
}
