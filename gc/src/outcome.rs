//! The outcome of a sweep, as it is stored for monitoring. Pure.

use codex_k8s_shared::last_sweep::{LastSweep, SweepResult};

use crate::sweep::report::{Line, Outcome, Report};

/// The result of a sweep. `error` is the error that ended it early.
pub(crate) fn result(report: &Report, error: Option<&str>) -> SweepResult {
    if error.is_some() {
        SweepResult::Failed
    } else if !report.trips().is_empty() {
        SweepResult::Aborted
    } else if report.failed() + report.stuck() > 0 {
        SweepResult::Partial
    } else {
        SweepResult::Succeeded
    }
}

/// The number of namespaces that the previous sweep found due for reasons other than leases; `None` if that sweep
/// ended early, because its number is not comparable.
pub(crate) fn due_before(before: Option<&LastSweep>) -> Option<u32> {
    before.filter(|before| before.result != SweepResult::Failed).map(|before| before.due_by_policy)
}

/// The stored outcome of a sweep, after that of the previous one.
pub(crate) fn last_sweep(report: &Report, error: Option<&str>, before: Option<&LastSweep>) -> LastSweep {
    let result = result(report, error);
    let success = result.is_success().then_some(report.finished_at);
    let is_there = |line: &&Line| !matches!(line.outcome, Some(Outcome::Deleted | Outcome::AlreadyDeleted));
    let there = || report.namespaces.iter().filter(is_there);
    let is_stuck = |line: &&Line| matches!(line.outcome, Some(Outcome::Terminating { .. }));
    LastSweep {
        started_at: Some(report.started_at),
        finished_at: Some(report.finished_at),
        last_success: success.or_else(|| before?.last_success),
        result,
        error: error.map(str::to_owned),
        managed: report.managed(),
        due: report.due(),
        due_by_policy: report.due_by_policy(),
        deleted: report.deleted(),
        failed: report.failed(),
        stuck: report.stuck(),
        retained: report.retained().into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        overdue: report.overdue().into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        oldest_expired: there()
            .filter(|line| line.terminating_since.is_none())
            .filter_map(|line| line.lease_expires_at)
            .filter(|end| *end <= report.finished_at)
            .min(),
        oldest_terminating: there()
            .filter_map(|line| {
                // A namespace that this sweep could not delete has been terminating at least since the sweep began.
                line.terminating_since.or_else(|| is_stuck(&line).then_some(report.started_at))
            })
            .min(),
        breaker: report.trips().iter().map(|trip| trip.code().to_owned()).collect(),
        leaks: u32::try_from(report.leaks.len()).unwrap_or(u32::MAX),
        last_prune: report.pruned_rows.map(|_| report.finished_at).or_else(|| before?.last_prune),
        pruned_rows: report.pruned_rows.or_else(|| Some(before?.pruned_rows)).unwrap_or_default(),
    }
}
