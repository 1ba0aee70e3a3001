//! A run namespace as a line of `get`. Pure.

use codex_k8s_gc::times::{relative, whole};
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::hold::Hold;
use codex_k8s_shared::keys;
use jiff::Timestamp;
use serde::Serialize;

/// The phase of a run namespace, as its metadata tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Phase {
    /// It is being deleted.
    Terminating,
    /// Its lease has ended. A sweep deletes it, unless something blocks that.
    Expired,
    /// It has no reservation yet.
    Pending,
    /// Its baseline is not ready.
    Preparing,
    /// Workloads are admitted.
    Ready,
    /// It was deleted while it was watched.
    Deleted,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Terminating => "Terminating",
            Self::Expired => "Expired",
            Self::Pending => "Pending",
            Self::Preparing => "Preparing",
            Self::Ready => "Ready",
            Self::Deleted => "Deleted",
        }
    }
}

/// A run namespace, as `get` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The columns, and those of the wide format after them.
pub(super) const COLUMNS: [&str; 7] = ["NAME", "PHASE", "LEASE", "RESERVATION", "MODE", "AGE", "REASON"];
/// The columns of the wide format, before the reason.
pub(super) const WIDE: [&str; 3] = ["RUN", "PROJECT", "REQUESTED BY"];

impl Line {
    /// Describes a namespace at a time.
    pub(super) fn new(candidate: &Candidate, now: Timestamp) -> Self {
        let label = |key| candidate.label(key).map(str::to_owned);
        let annotation = |key| candidate.annotation(key).map(str::to_owned);
        let lease_expires_at = candidate.lease().map(|lease| lease.expires_at.timestamp());
        let is_pending = candidate.annotation(keys::QUOTA_PENDING_SINCE).is_some();
        let is_ready = candidate.annotation(keys::BASELINE_READY_AT).is_some();
        let phase = if candidate.terminating_since.is_some() {
            Phase::Terminating
        } else if lease_expires_at.is_some_and(|end| end <= now) {
            Phase::Expired
        } else if is_pending {
            Phase::Pending
        } else if is_ready {
            Phase::Ready
        } else {
            Phase::Preparing
        };
        Self {
            name: candidate.name.clone(),
            phase,
            lease_expires_at,
            reservation: match (is_pending, is_ready) {
                (true, _) => Some("pending"),
                (false, true) => Some("admitted"),
                (false, false) => None,
            },
            runtime_mode: label(keys::RUNTIME_MODE),
            created_at: candidate.created_at,
            run_id: label(keys::RUN_ID),
            project_id: label(keys::PROJECT_ID),
            requested_by: annotation(keys::REQUESTED_BY),
            reason: reason(candidate, phase, now),
        }
    }

    /// Returns the line of the namespace after its deletion.
    pub(super) fn deleted(self) -> Self {
        Self { phase: Phase::Deleted, reason: None, ..self }
    }

    /// Returns the cells of the line.
    pub(super) fn cells(&self, is_wide: bool, now: Timestamp) -> Vec<String> {
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let mut cells = vec![
            self.name.clone(),
            self.phase.as_str().to_owned(),
            self.lease_expires_at.map_or_else(|| "-".to_owned(), |end| relative(end, now)),
            or_dash(self.reservation),
            or_dash(self.runtime_mode.as_deref()),
            self.created_at.map_or_else(
                || "-".to_owned(),
                |created| relative(created, now).trim_end_matches(" ago").to_owned(),
            ),
        ];
        if is_wide {
            let wide = [&self.run_id, &self.project_id, &self.requested_by];
            cells.extend(wide.map(|cell| or_dash(cell.as_deref())));
        }
        cells.push(self.reason.clone().unwrap_or_default());
        cells
    }
}

/// Returns the reason of a phase, or the hold.
fn reason(candidate: &Candidate, phase: Phase, now: Timestamp) -> Option<String> {
    let hold = candidate.annotation(keys::HOLD).and_then(|hold| hold.parse::<Hold>().ok());
    let hold = hold.filter(|hold| hold.until.timestamp() > now);
    let hold = hold.map(|Hold { until, why }| format!("held until {}: {why}", whole(until.timestamp())));
    match phase {
        Phase::Terminating => {
            candidate.terminating_since.map(|since| format!("deleted {}", relative(since, now)))
        }
        Phase::Pending | Phase::Preparing => {
            candidate.annotation(keys::BASELINE_WAITS_FOR).map(|what| format!("waits for {what}"))
        }
        Phase::Expired | Phase::Ready => hold,
        Phase::Deleted => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn line(annotations: &[(&str, &str)]) -> Line {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let candidate = Candidate {
            name: "codex-issue-demo".to_owned(),
            labels: pairs(&[(keys::RUN_ID, "demo"), (keys::RUNTIME_MODE, "full-env")]),
            annotations: pairs(annotations),
            created_at: Some(at("2026-02-01T10:00:00Z")),
            ..Candidate::default()
        };
        Line::new(&candidate, at("2026-02-01T12:00:00Z"))
    }

    const LEASE: [(&str, &str); 3] = [
        (keys::NAMESPACE_LEASE_TTL, "3h0m0s"),
        (keys::NAMESPACE_LEASE_UPDATED_AT, "2026-02-01T10:00:00Z"),
        (keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-02-01T13:00:00Z"),
    ];
    const READY: (&str, &str) = (keys::BASELINE_READY_AT, "2026-02-01T10:00:05Z");

    fn with(more: &[(&'static str, &'static str)]) -> Line {
        line(&[&LEASE, more].concat())
    }

    #[test]
    fn the_phase_follows_from_lease_reservation_and_baseline() {
        let over = (keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-02-01T11:00:00Z");
        let pending = (keys::QUOTA_PENDING_SINCE, "2026-02-01T10:00:00Z");
        for (annotations, phase, reservation) in [
            (&[][..], Phase::Preparing, None),
            (&[READY], Phase::Ready, Some("admitted")),
            (&[pending], Phase::Pending, Some("pending")),
            (&[pending, over], Phase::Expired, Some("pending")),
            (&[READY, over], Phase::Expired, Some("admitted")),
        ] {
            let line = with(annotations);
            assert_eq!((line.phase, line.reservation), (phase, reservation), "{annotations:?}");
        }
        assert_eq!(line(&[READY]).phase, Phase::Ready, "without a lease");
    }

    #[test]
    fn the_reason_is_what_it_waits_for_or_the_hold_while_it_lasts() {
        let waits = with(&[(keys::BASELINE_WAITS_FOR, "Role codex-runner")]);
        assert_eq!(waits.reason.as_deref(), Some("waits for Role codex-runner"));
        let held = with(&[READY, (keys::HOLD, "2026-02-01T18:00:00Z looking into it")]);
        assert_eq!(held.reason.as_deref(), Some("held until 2026-02-01T18:00:00Z: looking into it"));
        assert_eq!(with(&[READY, (keys::HOLD, "2026-02-01T11:00:00Z over")]).reason, None);
    }

    #[test]
    fn a_line_has_a_cell_for_each_column() {
        let (line, now) = (with(&[READY]), at("2026-02-01T12:00:00Z"));
        assert_eq!(
            line.cells(false, now),
            ["codex-issue-demo", "Ready", "in 60m", "admitted", "full-env", "2h", ""]
        );
        assert_eq!(line.cells(false, now).len(), COLUMNS.len());
        assert_eq!(line.cells(true, now).len(), COLUMNS.len() + WIDE.len());
        assert_eq!(line.deleted().cells(false, now)[1], "Deleted");
    }
}
