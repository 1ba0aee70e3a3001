//! What the programs make in their own namespace, by name: each is written by one of them and known to others.

/// The label of all that is ours, and what it says.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "codex-k8s-guard");
/// The Lease that says which reconciler leads.
pub const LEADER_LEASE: &str = "codex-k8s-reconcile";
/// The Lease that a sweep holds.
pub const SWEEP_LEASE: &str = "codex-k8s-gc";
/// The Secret of the certificate authority, unless another is named.
pub const AUTHORITY_SECRET: &str = "codex-k8s-webhook-ca";
/// The Secret of the leaf, unless another is named.
pub const LEAF_SECRET: &str = "codex-k8s-webhook-tls";
/// The label of Secrets that are the reconciler's to write, and what it says.
pub const KEPT_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "codex-k8s-reconcile");
/// The Lease that says that agent Jobs are, or were, held back: whoever finds it lets go of those that wait, should
/// the policy not limit them any more.
pub const LIMITED_JOBS_LEASE: &str = "agent-jobs-are-limited";
