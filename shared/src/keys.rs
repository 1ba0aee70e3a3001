//! Labels and annotations of the `codex-k8s.dev/` domain (contract.md, section 1), and the few others that matter.

/// The domain of the contract's keys, with its slash.
pub const DOMAIN: &str = "codex-k8s.dev/";
/// The domain that was in use for two hours. Its keys are denied, except [`NETWORK_ZONE`].
pub(crate) const LEGACY_DOMAIN: &str = "codexk8s.io/";
/// A key of the legacy domain that is still in use, on namespaces that are not managed.
pub(crate) const NETWORK_ZONE: &str = "codexk8s.io/network-zone";

/// Label: the manager of the object; always [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "codex-k8s.dev/managed-by";
/// The only value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "codex-k8s-worker";
/// Label: the purpose of the namespace; always [`NAMESPACE_PURPOSE_VALUE`].
pub const NAMESPACE_PURPOSE: &str = "codex-k8s.dev/namespace-purpose";
/// The only value of [`NAMESPACE_PURPOSE`].
pub const NAMESPACE_PURPOSE_VALUE: &str = "run";
/// Label: `full-env` or `code-only`.
pub const RUNTIME_MODE: &str = "codex-k8s.dev/runtime-mode";
/// Label: the run. Sanitized on Namespaces, raw on Jobs, their Pod templates and Pods.
pub const RUN_ID: &str = "codex-k8s.dev/run-id";
/// Label: the project, sanitized.
pub const PROJECT_ID: &str = "codex-k8s.dev/project-id";
/// Label: the issue, decimal.
pub const ISSUE_NUMBER: &str = "codex-k8s.dev/issue-number";
/// Label: the agent's role, sanitized.
pub const AGENT_KEY: &str = "codex-k8s.dev/agent-key";

/// Annotation: the id that all rows of a run share.
pub const CORRELATION_ID: &str = "codex-k8s.dev/correlation-id";
/// Annotation: the time to live of the namespace after each renewal.
pub const NAMESPACE_LEASE_TTL: &str = "codex-k8s.dev/namespace-lease-ttl";
/// Annotation: the end of the lease.
pub const NAMESPACE_LEASE_EXPIRES_AT: &str = "codex-k8s.dev/namespace-lease-expires-at";
/// Annotation: the last renewal of the lease.
pub const NAMESPACE_LEASE_UPDATED_AT: &str = "codex-k8s.dev/namespace-lease-updated-at";
/// Annotation: the hash of the deployed content.
pub const RUNTIME_FINGERPRINT_HASH: &str = "codex-k8s.dev/runtime-fingerprint-hash";
/// Annotation: the deployed content.
pub const RUNTIME_FINGERPRINT_JSON: &str = "codex-k8s.dev/runtime-fingerprint-json";
/// Annotation: the time of the deployment.
pub const RUNTIME_FINGERPRINT_UPDATED_AT: &str = "codex-k8s.dev/runtime-fingerprint-updated-at";
/// Annotation of this product: the user that created the namespace, from the authenticated request.
pub const REQUESTED_BY: &str = "codex-k8s.dev/requested-by";
/// Annotation of this product: the time when the baseline was last found complete.
pub const BASELINE_READY_AT: &str = "codex-k8s.dev/baseline-ready-at";
/// Annotation of this product: the hash of the baseline that was found complete.
pub const BASELINE_HASH: &str = "codex-k8s.dev/baseline-hash";
/// Annotation of this product: the reason why the baseline stays incomplete, if that lasts.
pub const BASELINE_WAITS_FOR: &str = "codex-k8s.dev/baseline-waits-for";
/// Annotation of this product: the time when the namespace became pending and its lease was shortened.
pub const QUOTA_PENDING_SINCE: &str = "codex-k8s.dev/quota-pending-since";
/// Annotation of this product, on a baseline object: the values that the platform's worker wrote last and that the
/// policy replaced.
pub const REPLACED_VALUES: &str = "codex-k8s.dev/replaced-values";
/// Annotation of this product: a person's hold against cleanup.
pub const HOLD: &str = "codex-k8s.dev/hold";
/// Annotation of this product, on a Job that is suspended until it has a reservation: the reservation that it waits
/// for.
pub const JOB_PENDING_REASON: &str = "codex-k8s.dev/job-pending-reason";
/// Annotation of this product, on a Job: the time when it got its reservation.
pub const JOB_ADMITTED_AT: &str = "codex-k8s.dev/job-admitted-at";

/// Label on the platform's workloads.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// The value of [`APP_NAME`] that makes a Job the Job of its run.
pub const APP_NAME_RUN: &str = "codex-k8s-run";

/// Label: the Pod Security level that Pods must meet to be admitted.
pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Label: the version of the checks behind [`POD_SECURITY_ENFORCE`].
pub const POD_SECURITY_ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";
/// Label: the Pod Security level whose violations are recorded in the audit log.
pub const POD_SECURITY_AUDIT: &str = "pod-security.kubernetes.io/audit";

/// A label or annotation of Kubernetes itself that gives a namespace, or the Pods in it, privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// The key.
    pub key: &'static str,
    /// The map that holds the key.
    pub kind: KeyKind,
    /// The privilege.
    pub gives: &'static str,
    /// The source file of Kubernetes 1.37, or the component, that reads the key.
    pub source: &'static str,
}

/// Every key of a Namespace that Kubernetes 1.37 reads and that widens what the namespace may do, except the Pod
/// Security labels, which have their own rule. The others that it reads name the namespace
/// (`kubernetes.io/metadata.name`, which the API server sets itself). The last two are of AKS, which may exclude
/// namespaces with these labels from every webhook of the cluster, this product's included.
pub const PRIVILEGES: &[Privilege] = &[
    Privilege {
        key: "resource.kubernetes.io/admin-access",
        kind: KeyKind::Label,
        gives: "ResourceClaims with adminAccess to every device of a node",
        source: "pkg/registry/resource/utils.go",
    },
    Privilege {
        key: "scheduler.alpha.kubernetes.io/node-selector",
        kind: KeyKind::Annotation,
        gives: "Pods on other nodes than the cluster's default node selector",
        source: "plugin/pkg/admission/podnodeselector/admission.go",
    },
    Privilege {
        key: "scheduler.alpha.kubernetes.io/defaultTolerations",
        kind: KeyKind::Annotation,
        gives: "every Pod tolerations that it does not ask for",
        source: "plugin/pkg/admission/podtolerationrestriction/admission.go",
    },
    Privilege {
        key: "scheduler.alpha.kubernetes.io/tolerationsWhitelist",
        kind: KeyKind::Annotation,
        gives: "Pods other tolerations than the cluster's list",
        source: "plugin/pkg/admission/podtolerationrestriction/admission.go",
    },
    Privilege {
        key: "control-plane",
        kind: KeyKind::Label,
        gives: "an exemption from admission webhooks on AKS",
        source: "the admissions enforcer of AKS",
    },
    Privilege {
        key: "kubernetes.azure.com/managedby",
        kind: KeyKind::Label,
        gives: "an exemption from admission webhooks on AKS",
        source: "the admissions enforcer of AKS",
    },
];

/// The map that holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// In `metadata.labels`.
    Label,
    /// In `metadata.annotations`.
    Annotation,
}

/// The origin of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The platform's release A.
    A,
    /// The platform's release B.
    B,
    /// This product.
    Guard,
}

/// A key of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: &'static str,
    /// The map that holds the key.
    pub kind: KeyKind,
    /// The origin.
    pub since: Since,
    /// The meaning of the value.
    pub meaning: &'static str,
}

const fn label(key: &'static str, since: Since, meaning: &'static str) -> KnownKey {
    KnownKey { key, kind: KeyKind::Label, since, meaning }
}

const fn annotation(key: &'static str, since: Since, meaning: &'static str) -> KnownKey {
    KnownKey { key, kind: KeyKind::Annotation, since, meaning }
}

/// Every key of the domain that the contract has on namespaces; any other is denied on managed ones.
pub const KNOWN: &[KnownKey] = &[
    label(MANAGED_BY, Since::A, "always codex-k8s-worker"),
    label(NAMESPACE_PURPOSE, Since::A, "always run"),
    label(RUNTIME_MODE, Since::A, "full-env or code-only"),
    label(RUN_ID, Since::A, "the run; sanitized on Namespaces, raw on workloads"),
    label(PROJECT_ID, Since::A, "the project, sanitized"),
    label(ISSUE_NUMBER, Since::B, "the issue, decimal"),
    label(AGENT_KEY, Since::B, "the agent's role, sanitized"),
    annotation(CORRELATION_ID, Since::A, "ties all rows of a run together"),
    annotation(
        NAMESPACE_LEASE_TTL,
        Since::B,
        "how long the namespace lives after each renewal, such as 24h0m0s",
    ),
    annotation(NAMESPACE_LEASE_EXPIRES_AT, Since::B, "when the lease ends, such as 2026-01-31T12:00:00Z"),
    annotation(NAMESPACE_LEASE_UPDATED_AT, Since::B, "when the lease was last renewed"),
    annotation(RUNTIME_FINGERPRINT_HASH, Since::B, "hash of what was deployed"),
    annotation(RUNTIME_FINGERPRINT_JSON, Since::B, "what was deployed"),
    annotation(RUNTIME_FINGERPRINT_UPDATED_AT, Since::B, "when it was deployed"),
    annotation(REQUESTED_BY, Since::Guard, "who asked for the namespace, from the authenticated request"),
    annotation(BASELINE_READY_AT, Since::Guard, "when the baseline was last seen complete"),
    annotation(BASELINE_HASH, Since::Guard, "hash of the baseline that was seen complete"),
    annotation(BASELINE_WAITS_FOR, Since::Guard, "what the baseline waits for, where that lasts"),
    annotation(
        QUOTA_PENDING_SINCE,
        Since::Guard,
        "when no place was found for it and its lease was cut short",
    ),
    annotation(HOLD, Since::Guard, "a person's hold against cleanup"),
];

/// The labels that the contract has on namespaces.
pub fn known_labels() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(|known| known.kind == KeyKind::Label).map(|known| known.key)
}

/// Returns true for a key of the domain itself, not of a subdomain, which belongs to another manager.
pub fn in_domain(key: &str) -> bool {
    key.starts_with(DOMAIN)
}

/// Returns true for a key of the legacy domain that is denied.
pub fn is_legacy(key: &str) -> bool {
    key.starts_with(LEGACY_DOMAIN) && key != NETWORK_ZONE
}

/// Returns true for a label of the contract.
pub fn is_known_label(key: &str) -> bool {
    is_known(key, KeyKind::Label)
}

/// Returns true for an annotation of the contract.
pub fn is_known_annotation(key: &str) -> bool {
    is_known(key, KeyKind::Annotation)
}

fn is_known(key: &str, kind: KeyKind) -> bool {
    KNOWN.iter().any(|known| known.kind == kind && known.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_key_lies_in_the_domain_and_stands_once() {
        for (index, known) in KNOWN.iter().enumerate() {
            assert!(in_domain(known.key), "{known:?}");
            assert!(KNOWN.iter().skip(index + 1).all(|other| other.key != known.key), "{known:?}");
        }
    }

    #[test]
    fn twins_of_a_known_key_are_not_known() {
        for twin in ["codex-k8s.dev/Managed-By", "codex-k8s.dev/managed-by ", "codex-k8s.dev/managed_by"] {
            assert!(in_domain(twin) && !is_known_label(twin), "{twin}");
        }
        assert!(!in_domain("x.codex-k8s.dev/managed-by"));
        assert!(!in_domain("codex-k8s.dev"));
        assert!(is_legacy("codexk8s.io/managed-by") && !is_legacy(NETWORK_ZONE));
        assert!(!is_known_label(CORRELATION_ID), "it is an annotation");
    }
}
