//! Points at which tests have a sweep die or stand still, to see what the next one makes of it, and what others do
//! meanwhile.
//!
//! Without the feature `fault-points` there are none.

use std::fmt;

/// A step of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Everything was listed and decided; nothing was written.
    AfterList,
    /// A namespace was read again and is about to be deleted; no row says so yet.
    BeforeIntended,
    /// The row that says so is written; the deletion is not sent.
    AfterIntended,
    /// The deletion was sent.
    AfterDelete,
    /// The namespace is gone; no row says so yet.
    BeforeCleaned,
    /// The row that says so is written.
    AfterCleaned,
    /// A namespace is kept; no row says so yet.
    BeforeSkipped,
    /// The row that says so is written.
    AfterSkipped,
    /// All is done; the outcome is not noted.
    BeforeOutcome,
}

impl Point {
    /// All of them.
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

/// `CODEX_K8S_FAULT` names a point and, after a colon, a namespace, as in `after-intended:codex-issue-1`; at points of a
/// whole sweep the namespace is empty. There, the process dies with nothing unwound; or, if `CODEX_K8S_FAULT_FILE` names
/// a file, makes `<file>.reached` and stands still until the file is there.
#[cfg(feature = "fault-points")]
pub(crate) async fn point(point: Point, namespace: &str) {
    let named = |fault: String| fault == format!("{point}:{namespace}");
    if !std::env::var("CODEX_K8S_FAULT").is_ok_and(named) {
        return;
    }
    let Ok(file) = std::env::var("CODEX_K8S_FAULT_FILE") else { std::process::abort() };
    // Once: what comes by a second time has been tested.
    if std::fs::exists(&file).is_ok_and(|there| there)
        || std::fs::write(format!("{file}.reached"), "").is_err()
    {
        return;
    }
    while !std::fs::exists(&file).is_ok_and(|there| there) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// No fault is ever asked for.
#[cfg(not(feature = "fault-points"))]
#[allow(clippy::unused_async, reason = "as the one with faults")]
pub(crate) async fn point(_: Point, _: &str) {}
