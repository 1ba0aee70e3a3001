//! Trace spans of reconciliations.

use codex_k8s_shared::telemetry::SPANS;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tracing::Span;
use tracing::field::{Empty, display};

use super::namespace::{Gate, Report};

/// Starts the span of a reconciliation.
pub(super) fn span(meta: &ObjectMeta) -> Span {
    tracing::info_span!(
        target: SPANS,
        "reconcile",
        namespace = meta.name,
        uid = meta.uid,
        steps = Empty,
        missing = Empty,
        gate = Empty,
        error = Empty,
    )
}

/// Records the number of steps, the missing objects and the change of the gate.
pub(super) fn record(span: &Span, result: &kube::Result<Report>) {
    if span.is_disabled() {
        return;
    }
    match result {
        Ok(report) => {
            span.record("steps", report.done.len());
            span.record("missing", report.left.missing().join(", "));
            span.record(
                "gate",
                match report.gate {
                    Gate::Unchanged => "unchanged",
                    Gate::Opened => "opened",
                    Gate::Closed => "closed",
                },
            );
        }
        Err(error) => {
            span.record("error", display(error));
        }
    }
}
