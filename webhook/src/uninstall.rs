//! Removes the objects that the programs have created in the install namespace: the Secrets of the certificates,
//! Leases, and the outcome of the last sweep.
//!
//! Nothing is deleted that is still in use: as long as the webhook is registered, or a program that would write the
//! object again is running. Audit rows are not deleted.

use std::fmt;

use codex_k8s_shared::install::{
    LEADER_LEASE, LIMITED_JOBS_LEASE, MANAGED_BY_RECONCILER, PART_OF, SWEEP_LEASE,
};
use codex_k8s_shared::last_sweep::CONFIG_MAP;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};

use crate::registered::Which;
use codex_k8s_shared::install::WEBHOOK_CONFIGURATION;

/// The programs that write to the install namespace, by the `app.kubernetes.io/name` of their Pods.
const WRITERS: &str = "codex-k8s-reconcile,codex-k8s-gc";

/// The install namespace, and the configurable names in it.
#[derive(Debug, Clone)]
pub struct InstallNamespace {
    /// The namespace.
    pub namespace: String,
    /// The Secrets of the CA and the serving certificate.
    pub secrets: Vec<String>,
}

/// An object that the programs have left.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Its name.
    pub name: String,
    /// The reason why it is retained, if it is.
    pub retained: Option<&'static str>,
    resource: ApiResource,
    uid: Option<String>,
}

impl Leftover {
    fn new<K: Resource<DynamicType = ()>>(
        found: &PartialObjectMeta<K>,
        retained: Option<&'static str>,
    ) -> Self {
        Self { name: found.name_any(), retained, resource: ApiResource::erase::<K>(&()), uid: found.uid() }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.resource.kind, self.name)
    }
}

/// Returns what still uses the objects.
///
/// # Errors
/// If the API server cannot be read.
pub async fn in_use(client: &Client, namespace: &str) -> kube::Result<Vec<String>> {
    let mut found = Vec::new();
    for which in Which::BOTH {
        if which.api(client.clone()).get_opt(WEBHOOK_CONFIGURATION).await?.is_some() {
            found.push(format!("{}/{WEBHOOK_CONFIGURATION}", which.kind()));
        }
    }
    let labels = format!("{PART_OF},app.kubernetes.io/name in ({WRITERS})");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(&labels)).await?;
    found.extend(pods.iter().filter(|pod| !has_ended(pod)).map(|pod| format!("Pod/{}", pod.name_any())));
    Ok(found)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Returns all objects that are left.
///
/// # Errors
/// If the API server cannot be read.
pub async fn leftovers(client: &Client, install: &InstallNamespace) -> kube::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &install.namespace);
    for name in &install.secrets {
        if let Some(secret) = secrets.get_metadata_opt(name).await? {
            let retained =
                (!MANAGED_BY_RECONCILER.is_among(secret.labels())).then_some("it has no label of ours");
            found.push(Leftover::new(&secret, retained));
        }
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), &install.namespace);
    for lease in leases.list_metadata(&ListParams::default()).await? {
        if is_our_lease(&lease) {
            let retained = (lease.name_any() == LIMITED_JOBS_LEASE).then_some(
                "agent Jobs may wait: whoever is installed next finds by it that it may let them go",
            );
            found.push(Leftover::new(&lease, retained));
        }
    }
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &install.namespace);
    if let Some(outcome) = config_maps.get_metadata_opt(CONFIG_MAP).await? {
        found.push(Leftover::new(&outcome, None));
    }
    Ok(found)
}

fn is_our_lease(lease: &PartialObjectMeta<Lease>) -> bool {
    let name = lease.name_any();
    name == LEADER_LEASE || name == SWEEP_LEASE || PART_OF.is_among(lease.labels())
}

/// Deletes an object, unless it has been recreated since it was found.
///
/// # Errors
/// If the API server refuses the deletion or cannot be reached.
pub async fn delete(client: &Client, namespace: &str, found: &Leftover) -> kube::Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &found.resource);
    let preconditions = Preconditions { uid: found.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&found.name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
