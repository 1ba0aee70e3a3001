//! Points at which tests abort the reconciler, to check that the next one recovers from the state it finds.
//!
//! They only exist with the feature `fault-points`.

use std::fmt;

use codex_k8s_shared::baseline::BaselineKind;

/// A point before or after a step of the work on one namespace or Job.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point {
    /// An object is about to be applied.
    BeforeApply(BaselineKind),
    /// An object was applied.
    AfterApply(BaselineKind),
    /// An object was deleted. In a replacement, its successor is about to be applied.
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
    /// The suspension was lifted.
    AfterStart,
    /// An object of the certificates is about to be written.
    BeforeWrite(Written),
    /// The object was written.
    AfterWrite(Written),
}

/// The object that a step of the certificate rotation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// The Secret of the CA.
    Authority,
    /// A caBundle.
    Bundle,
    /// The annotation that confirms the caBundle of a configuration.
    Confirmation,
    /// The Secret of the serving certificate.
    Leaf,
}

impl Written {
    /// Returns the name in metrics and in the names of points.
    pub(crate) const fn as_str(self) -> &'static str {
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

/// Aborts the process, without unwinding or draining, if the environment variable `CODEX_K8S_FAULT` names this point
/// and this namespace or Job, as in `after-apply-Role:codex-issue-1`.
#[cfg(feature = "fault-points")]
pub(super) fn point(point: Point, namespace: &str) {
    if std::env::var("CODEX_K8S_FAULT").is_ok_and(|fault| fault == format!("{point}:{namespace}")) {
        std::process::abort();
    }
}

/// Does nothing: this build has no fault points.
#[cfg(not(feature = "fault-points"))]
pub(super) const fn point(_: Point, _: &str) {}
