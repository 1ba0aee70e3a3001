//! A span about each sweep, for the trace collector.

use codex_k8s_shared::telemetry::SPANS;
use tracing::Span;
use tracing::field::{Empty, display};

use crate::session::{SessionError, SweepOptions, SweepOutcome};
use crate::sweep::DryRun;

/// The span of a sweep that starts.
pub(crate) fn span(options: SweepOptions) -> Span {
    tracing::info_span!(
        target: SPANS,
        "sweep",
        dry_run = options.dry_run != DryRun::No,
        result = Empty,
        managed = Empty,
        due = Empty,
        deleted = Empty,
        failed = Empty,
        error = Empty,
    )
}

/// Adds the outcome.
pub(crate) fn record(span: &Span, sweep: &Result<SweepOutcome, SessionError>) {
    match sweep {
        Ok(sweep) => {
            let outcome = &sweep.outcome;
            span.record("result", outcome.result.as_str());
            span.record("managed", outcome.managed);
            span.record("due", outcome.due);
            span.record("deleted", outcome.deleted);
            span.record("failed", outcome.failed);
            if let Some(error) = &sweep.error {
                span.record("error", display(error));
            }
        }
        Err(error) => {
            span.record("error", display(error));
        }
    }
}
