//! Points at which tests have the reconciler die, to see what the next one makes of what it finds.
//!
//! Without the feature `fault-points` there are none.

use std::fmt;

use codex_k8s_shared::baseline::BaselineKind;

/// A step of the work on one namespace or Job, and the side of it.
#[derive(Debug, Clone, Copy)]
pub enum Point {
    /// An object is about to be applied.
    BeforeApply(BaselineKind),
    /// An object was applied.
    AfterApply(BaselineKind),
    /// An object was deleted; in a replacement, its successor is about to be applied.
    AfterDelete(BaselineKind),
    /// The gate is about to be closed.
    BeforeClose,
    /// The gate was closed.
    AfterClose,
    /// The gate is about to be opened.
    BeforeOpen,
    /// The gate was opened.
    AfterOpen,
    /// The suspension of an agent Job is about to be lifted.
    BeforeStart,
    /// It was lifted.
    AfterStart,
    /// An object of the certificates is about to be written.
    BeforeWrite(Written),
    /// It was written.
    AfterWrite(Written),
}

/// What a step of the certificates writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// The Secret of the authority.
    Authority,
    /// A caBundle.
    Bundle,
    /// The note that a configuration says what it is to say.
    Confirmation,
    /// The Secret of the leaf.
    Leaf,
}

impl Written {
    /// In a metric, and in the name of a point.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Bundle => "bundle",
            Self::Confirmation => "confirmation",
            Self::Leaf => "leaf",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeApply(kind) => write!(out, "before-apply-{kind}"),
            Self::AfterApply(kind) => write!(out, "after-apply-{kind}"),
            Self::AfterDelete(kind) => write!(out, "after-delete-{kind}"),
            Self::BeforeClose => out.write_str("before-close"),
            Self::AfterClose => out.write_str("after-close"),
            Self::BeforeOpen => out.write_str("before-open"),
            Self::AfterOpen => out.write_str("after-open"),
            Self::BeforeStart => out.write_str("before-start"),
            Self::AfterStart => out.write_str("after-start"),
            Self::BeforeWrite(written) => write!(out, "before-{}", written.as_str()),
            Self::AfterWrite(written) => write!(out, "after-{}", written.as_str()),
        }
    }
}

/// Dies here, with nothing unwound and nothing drained, if the variable `CODEX_K8S_FAULT` names this point and
/// namespace, as in `after-apply-Role:codex-issue-1`, or this point and Job.
#[cfg(feature = "fault-points")]
pub(super) fn point(point: Point, namespace: &str) {
    if std::env::var("CODEX_K8S_FAULT").is_ok_and(|fault| fault == format!("{point}:{namespace}")) {
        std::process::abort();
    }
}

/// No fault is ever asked for.
#[cfg(not(feature = "fault-points"))]
pub(super) const fn point(_: Point, _: &str) {}
