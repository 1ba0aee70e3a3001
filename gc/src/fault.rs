//! Points at which tests kill or stop a sweep, to check the behavior of the next sweep and of other processes.
//!
//! Without the feature `fault-points` they do nothing.

use std::fmt;

/// A step of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// All decisions were made; nothing was written.
    AfterList,
    /// A namespace was read again and is about to be deleted; the intention is not written yet.
    BeforeIntended,
    /// The intention is written; the deletion is not sent.
    AfterIntended,
    /// The deletion was sent.
    AfterDelete,
    /// The namespace is gone; the row is not written yet.
    BeforeCleaned,
    /// The row is written.
    AfterCleaned,
    /// A namespace is retained; the row is not written yet.
    BeforeSkipped,
    /// The row is written.
    AfterSkipped,
    /// Everything is done; the outcome is not stored.
    BeforeOutcome,
}

impl Point {
    /// All points.
    pub const ALL: [Self; 9] = [
        Self::AfterList,
        Self::BeforeIntended,
        Self::AfterIntended,
        Self::AfterDelete,
        Self::BeforeCleaned,
        Self::AfterCleaned,
        Self::BeforeSkipped,
        Self::AfterSkipped,
        Self::BeforeOutcome,
    ];
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::AfterList => "after-list",
            Self::BeforeIntended => "before-intended",
            Self::AfterIntended => "after-intended",
            Self::AfterDelete => "after-delete",
            Self::BeforeCleaned => "before-cleaned",
            Self::AfterCleaned => "after-cleaned",
            Self::BeforeSkipped => "before-skipped",
            Self::AfterSkipped => "after-skipped",
            Self::BeforeOutcome => "before-outcome",
        })
    }
}

/// Kills or stops the process at the point that `CODEX_K8S_FAULT` names, followed by a colon and a namespace, as in
/// `after-intended:codex-issue-1`. At points of a whole sweep the namespace is empty. The process aborts without
/// unwinding; or, if `CODEX_K8S_FAULT_FILE` names a file, it creates `<file>.reached` and waits until the file
/// exists.
#[cfg(feature = "fault-points")]
pub(crate) async fn point(point: Point, namespace: &str) {
    let named = |fault: String| fault == format!("{point}:{namespace}");
    if !std::env::var("CODEX_K8S_FAULT").is_ok_and(named) {
        return;
    }
    let Ok(file) = std::env::var("CODEX_K8S_FAULT_FILE") else { std::process::abort() };
    // Only once: the test is over when the point is reached again.
    if std::fs::exists(&file).is_ok_and(|there| there)
        || std::fs::write(format!("{file}.reached"), "").is_err()
    {
        return;
    }
    while !std::fs::exists(&file).is_ok_and(|there| there) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Does nothing.
#[cfg(not(feature = "fault-points"))]
#[allow(clippy::unused_async, reason = "as the one with faults")]
pub(crate) async fn point(_: Point, _: &str) {}
