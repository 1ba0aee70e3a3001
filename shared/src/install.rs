//! What the programs make in their own namespace, by name: each is written by one of them and known to others.

use std::collections::BTreeMap;
use std::fmt;

/// A label with its value; displayed, the selector of what has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: &'static str,
}

impl Label {
    /// Whether it is among labels.
    pub fn is_among(self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(self.key).is_some_and(|value| value == self.value)
    }

    /// As an entry of labels.
    pub fn entry(self) -> (String, String) {
        (self.key.to_owned(), self.value.to_owned())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.key, self.value)
    }
}

/// The label of all that is ours.
pub const PART_OF: Label = Label { key: "app.kubernetes.io/part-of", value: "codex-k8s-guard" };
/// The Lease that says which reconciler leads.
pub const LEADER_LEASE: &str = "codex-k8s-reconcile";
/// The Lease that a sweep holds.
pub const SWEEP_LEASE: &str = "codex-k8s-gc";
/// The Secret of the certificate authority, unless another is named.
pub const AUTHORITY_SECRET: &str = "codex-k8s-webhook-ca";
/// The Secret of the leaf, unless another is named.
pub const LEAF_SECRET: &str = "codex-k8s-webhook-tls";
/// The label of Secrets that are the reconciler's to write.
pub const MANAGED_BY_RECONCILER: Label =
    Label { key: "app.kubernetes.io/managed-by", value: "codex-k8s-reconcile" };
/// The Lease that says that agent Jobs are, or were, held back: whoever finds it lets go of those that wait, should
/// the policy not limit them any more.
pub const LIMITED_JOBS_LEASE: &str = "agent-jobs-are-limited";
