//! Run namespaces and their baseline objects as the API server stores them, and the plan that brings them into the state
//! of the policy. The reconciler carries the plan out, and the check reports it.

pub mod meta;
pub mod plan;

use codex_k8s_shared::baseline::{self, BaselineKind, Desired};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;

use meta::MetaExt;

/// Returns the objects that a namespace must hold, according to its metadata.
pub(crate) fn desired(policy: &RunPolicy, meta: &ObjectMeta) -> Vec<Desired> {
    let mode = RuntimeMode::parse_like_platform(meta.label(keys::RUNTIME_MODE).unwrap_or_default());
    baseline::desired(policy, meta.name.as_deref().unwrap_or_default(), mode)
}

/// Returns the API resource of a kind of baseline object.
pub(crate) fn resource(kind: BaselineKind) -> ApiResource {
    let group = kind.group();
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.as_str().to_owned(),
        plural: kind.plural().to_owned(),
    }
}
