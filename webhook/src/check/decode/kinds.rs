//! The kinds that an API server decodes into types, with these types.

use k8s_openapi::Resource;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::{v1 as autoscaling_v1, v2 as autoscaling_v2};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Binding, ConfigMap, Endpoints, LimitRange, Namespace, PersistentVolume, PersistentVolumeClaim, Pod,
    PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::reader::{Notes, Path, decode};

/// A kind, and the function that decodes an object of it.
pub(super) struct Known {
    api_version: &'static str,
    kind: &'static str,
    pub(super) decode: fn(&Value, Path<'_>) -> Notes,
}

const fn known<T: Resource + DeserializeOwned>() -> Known {
    Known { api_version: T::API_VERSION, kind: T::KIND, decode: decode::<T> }
}

/// The kinds of manifests; those of status reports and of requests, which are not stored, are missing.
static KNOWN: [Known; 41] = [
    known::<Binding>(),
    known::<ConfigMap>(),
    known::<Endpoints>(),
    known::<LimitRange>(),
    known::<Namespace>(),
    known::<PersistentVolume>(),
    known::<PersistentVolumeClaim>(),
    known::<Pod>(),
    known::<PodTemplate>(),
    known::<ReplicationController>(),
    known::<ResourceQuota>(),
    known::<Secret>(),
    known::<Service>(),
    known::<ServiceAccount>(),
    known::<ControllerRevision>(),
    known::<DaemonSet>(),
    known::<Deployment>(),
    known::<ReplicaSet>(),
    known::<StatefulSet>(),
    known::<CronJob>(),
    known::<Job>(),
    known::<ClusterRole>(),
    known::<ClusterRoleBinding>(),
    known::<Role>(),
    known::<RoleBinding>(),
    known::<TokenRequest>(),
    known::<autoscaling_v1::HorizontalPodAutoscaler>(),
    known::<autoscaling_v2::HorizontalPodAutoscaler>(),
    known::<Lease>(),
    known::<EndpointSlice>(),
    known::<Ingress>(),
    known::<IngressClass>(),
    known::<NetworkPolicy>(),
    known::<RuntimeClass>(),
    known::<PodDisruptionBudget>(),
    known::<PriorityClass>(),
    known::<CSIDriver>(),
    known::<StorageClass>(),
    known::<MutatingWebhookConfiguration>(),
    known::<ValidatingWebhookConfiguration>(),
    known::<ValidatingAdmissionPolicy>(),
];

/// Finds a kind in a version.
pub(super) fn find(api_version: &str, kind: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.api_version == api_version && known.kind == kind)
}
