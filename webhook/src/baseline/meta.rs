//! Labels and annotations of run namespaces and their objects.

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::rules::{LevelVersion, ManagedNamespace};

/// The platform's labels and annotations in an object's metadata.
pub trait MetaExt {
    /// Returns the value of a label.
    fn label(&self, key: &str) -> Option<&str>;

    /// Returns the value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str>;

    /// Returns true if the managed-by label is set, with any value.
    fn is_managed(&self) -> bool {
        self.label(keys::MANAGED_BY).is_some()
    }

    /// Returns true for a namespace that is reconciled: managed by the platform, not protected, and not being deleted.
    fn is_in_scope(&self, policy: &RunPolicy) -> bool;

    /// Returns true while the platform is building a namespace: it requested it, and its baseline was never complete.
    fn is_being_built(&self, policy: &RunPolicy) -> bool {
        let managers = &policy.identities.managers;
        self.annotation(keys::BASELINE_HASH).is_none()
            && self.annotation(keys::REQUESTED_BY).is_some_and(|user| managers.contains(user, []))
    }

    /// Returns true for a namespace that waits for a reservation.
    fn is_pending(&self) -> bool {
        self.annotation(keys::QUOTA_PENDING_SINCE).is_some()
    }

    /// Returns the lease of a namespace, if it has a valid one.
    fn lease(&self) -> Option<Lease> {
        Lease::read(|key| self.annotation(key)).ok().flatten()
    }
}

impl MetaExt for ObjectMeta {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
    }

    fn is_in_scope(&self, policy: &RunPolicy) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        self.label(keys::MANAGED_BY) == Some(keys::MANAGED_BY_VALUE)
            && self.deletion_timestamp.is_none()
            && !policy.namespaces.is_protected(name)
    }
}

/// Returns only what the rules need to know about a managed namespace, because ten thousand of them are cached.
pub(crate) fn managed(meta: &ObjectMeta) -> ManagedNamespace {
    let label = |key| meta.label(key).unwrap_or_default();
    let annotation = |key| meta.annotation(key).map(Into::into);
    ManagedNamespace {
        name: meta.name.as_deref().unwrap_or_default().into(),
        mode: RuntimeMode::parse_like_platform(label(keys::RUNTIME_MODE)),
        run_id: label(keys::RUN_ID).into(),
        project_id: label(keys::PROJECT_ID).into(),
        requested_by: annotation(keys::REQUESTED_BY),
        correlation_id: annotation(keys::CORRELATION_ID),
        expires_at: meta.lease().map(|lease| lease.expires_at.timestamp()),
        terminating: meta.deletion_timestamp.is_some(),
        ready: meta.annotation(keys::BASELINE_READY_AT).is_some()
            && meta.annotation(keys::BASELINE_HASH).is_some(),
        waits_for: annotation(keys::BASELINE_WAITS_FOR),
        pod_security: LevelVersion::of(|key| meta.label(key)),
    }
}
