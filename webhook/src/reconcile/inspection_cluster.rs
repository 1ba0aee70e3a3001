//! The reads of an inspection from the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_k8s_shared::baseline::Desired;
use codex_k8s_shared::paged;
use codex_k8s_shared::policy::RunPolicy;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use tokio::sync::Mutex;

use super::inspection::{BindingsElsewhere, Existing, Inspected, Violation};
use crate::baseline::meta::managed;
use crate::rules::Kind;

/// The maximum age of the list of all bindings. Namespaces are created in bursts and share it.
const MAX_AGE: Duration = Duration::from_secs(2);

const RBAC: &str = "rbac.authorization.k8s.io";

/// A resource to list: its API group, its kind, its plural name, and its kind in the rules.
type Listed = (&'static str, &'static str, &'static str, Kind);

/// The bindings, which are listed in the whole cluster.
const BINDINGS: [Listed; 2] = [
    (RBAC, "ClusterRoleBinding", "clusterrolebindings", Kind::ClusterRoleBinding),
    (RBAC, "RoleBinding", "rolebindings", Kind::RoleBinding),
];

/// The resources to list in a namespace. Secrets are not among them, because the right to list them is the right to
/// read them all.
const WITHIN: [Listed; 11] = [
    (RBAC, "Role", "roles", Kind::Role),
    (RBAC, "RoleBinding", "rolebindings", Kind::RoleBinding),
    ("batch", "CronJob", "cronjobs", Kind::CronJob),
    ("batch", "Job", "jobs", Kind::Job),
    ("apps", "Deployment", "deployments", Kind::Template),
    ("apps", "ReplicaSet", "replicasets", Kind::Template),
    ("apps", "StatefulSet", "statefulsets", Kind::Template),
    ("apps", "DaemonSet", "daemonsets", Kind::Template),
    ("apps", "ControllerRevision", "controllerrevisions", Kind::Revision),
    ("", "ReplicationController", "replicationcontrollers", Kind::Template),
    ("", "Pod", "pods", Kind::Pod),
];

/// Bindings and the start of their list.
type Dated = (Instant, Arc<BindingsElsewhere>);

/// Inspects namespaces. Clones share the last list of all bindings.
#[derive(Clone)]
pub struct Inspector {
    client: Client,
    bindings: Arc<Mutex<Option<Dated>>>,
}

impl Inspector {
    /// Returns an inspector of a cluster.
    pub fn new(client: Client) -> Self {
        Self { client, bindings: Arc::default() }
    }

    /// Returns the objects that have to be removed before the gate of a namespace opens.
    ///
    /// # Errors
    /// Returns an error if any of the lists cannot be read.
    pub(crate) async fn inspect(
        &self,
        policy: &RunPolicy,
        meta: &ObjectMeta,
        baseline: &[Desired],
    ) -> kube::Result<Vec<Violation>> {
        let name = meta.name.as_deref().unwrap_or_default();
        let lists = try_join_all(WITHIN.iter().map(|listed| self.within(listed, name)));
        let (within, elsewhere) = futures::try_join!(lists, self.elsewhere())?;
        let within: Vec<_> = within.into_iter().flatten().collect();
        let baseline: Vec<_> = baseline.iter().map(Desired::key).collect();
        let namespace = managed(meta);
        let inspected =
            Inspected { policy, namespace: &namespace, baseline: &baseline, now: Timestamp::now() };
        Ok(inspected.violations(&within, &elsewhere))
    }

    async fn within(&self, listed: &Listed, namespace: &str) -> kube::Result<Vec<Existing>> {
        let api = Api::namespaced_with(self.client.clone(), namespace, &resource(listed));
        list(api, listed, Some).await
    }

    /// Returns all bindings that name accounts of other namespaces.
    async fn elsewhere(&self) -> kube::Result<Arc<BindingsElsewhere>> {
        let mut last = self.bindings.lock().await;
        if let Some((_, bindings)) = last.as_ref().filter(|(began, _)| began.elapsed() < MAX_AGE) {
            return Ok(Arc::clone(bindings));
        }
        let began = Instant::now();
        let mut bindings = BindingsElsewhere::default();
        for listed in &BINDINGS {
            let api = Api::all_with(self.client.clone(), &resource(listed));
            // Reduced page by page, so that the bindings of a large cluster are never in memory together.
            for of_one in list(api, listed, |binding| BindingsElsewhere::of(&binding)).await? {
                bindings.append(of_one);
            }
        }
        let bindings = Arc::new(bindings);
        *last = Some((began, Arc::clone(&bindings)));
        Ok(bindings)
    }
}

/// Lists the objects of a resource that `keep` keeps.
async fn list<U>(
    api: Api<DynamicObject>,
    &(_, kind_name, _, kind): &Listed,
    keep: impl Fn(Existing) -> Option<U>,
) -> kube::Result<Vec<U>> {
    let page = async move |params: &ListParams| api.list(params).await;
    let existing = move |object: DynamicObject| {
        // Cannot fail: the object was parsed from JSON a moment ago.
        keep(Existing { kind, kind_name, object: serde_json::to_value(object).unwrap_or_default() })
    };
    paged::filtered(&ListParams::default(), page, existing).await
}

fn resource(&(group, kind, plural, _): &Listed) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
