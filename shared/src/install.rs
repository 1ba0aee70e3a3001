//! Names in the install namespace that more than one of the programs uses.

use std::collections::BTreeMap;
use std::fmt;

/// A label with its value. Its display form is a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: &'static str,
}

impl Label {
    /// Returns true if these labels contain it.
    pub fn is_among(self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(self.key).is_some_and(|value| value == self.value)
    }

    /// The label as an entry of a map of labels.
    pub fn entry(self) -> (String, String) {
        (self.key.to_owned(), self.value.to_owned())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.key, self.value)
    }
}

/// The label of all objects of this product.
pub const PART_OF: Label = Label { key: "app.kubernetes.io/part-of", value: "codex-k8s-guard" };
/// The label of the garbage collector's objects.
pub const COLLECTOR: Label = Label { key: "app.kubernetes.io/name", value: "codex-k8s-gc" };
/// The `ConfigMap` of the policy.
pub const POLICY: &str = "codex-k8s-policy";
/// The key of the policy in its `ConfigMap`.
pub const POLICY_KEY: &str = "policy.yaml";
/// The label of the policy's `ConfigMap`.
pub const POLICY_LABEL: Label = Label { key: "app.kubernetes.io/name", value: POLICY };
/// The install namespace, unless another is named.
pub const DEFAULT_NAMESPACE: &str = "codex-k8s-guard";
/// The Lease of the leading reconciler.
pub const LEADER_LEASE: &str = "codex-k8s-reconcile";
/// The Lease that a sweep holds.
pub const SWEEP_LEASE: &str = "codex-k8s-gc";
/// The default Secret of the certificate authority.
pub const AUTHORITY_SECRET: &str = "codex-k8s-webhook-ca";
/// The default Secret of the serving certificate.
pub const LEAF_SECRET: &str = "codex-k8s-webhook-tls";
/// The label of Secrets that the reconciler may write.
pub const MANAGED_BY_RECONCILER: Label =
    Label { key: "app.kubernetes.io/managed-by", value: "codex-k8s-reconcile" };
/// The Lease that marks that agent Jobs are, or were, limited. If the policy does not limit them any more, the
/// reconciler that finds the Lease releases the suspended Jobs.
pub const LIMITED_JOBS_LEASE: &str = "agent-jobs-are-limited";
/// The name of both webhook configurations.
pub const WEBHOOK_CONFIGURATION: &str = "codex-k8s-guard";
/// The field manager of all objects that this product applies.
pub const FIELD_MANAGER: &str = "codex-k8s-guard";
/// The common suffix of the webhooks' names.
pub const WEBHOOK_DOMAIN: &str = "guard.codex-k8s.dev";
