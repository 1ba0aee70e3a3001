//! The requests of the reconciler to the API server.

use std::fmt;

use codex_k8s_shared::baseline::{BaselineKind, Desired};
use codex_k8s_shared::{keys, paged};
use futures::TryStreamExt;
use futures::stream::FuturesOrdered;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::fault::{self, Point};
use crate::baseline::plan::{Key, Observed};
use crate::baseline::resource;
use codex_k8s_shared::install::FIELD_MANAGER;

/// The client of the API server. Each write names our field manager.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    dry_run: bool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Creates a client. With `dry_run`, all writes are dry runs.
    pub const fn new(client: Client, dry_run: bool) -> Self {
        Self { client, dry_run }
    }

    /// True if all writes are dry runs.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    fn objects(&self, kind: BaselineKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// Reads the metadata of a namespace, managed or not. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the request fails.
    pub async fn namespace(&self, name: &str) -> kube::Result<Option<ObjectMeta>> {
        Ok(self.namespaces().get_metadata_opt(name).await?.map(|found| found.metadata))
    }

    /// Lists all managed namespaces.
    ///
    /// # Errors
    /// Returns an error if a request fails.
    pub async fn managed_namespaces(&self) -> kube::Result<Vec<ObjectMeta>> {
        let (api, params) = (self.namespaces(), ListParams::default().labels(keys::MANAGED_BY));
        let found = paged::all(&params, async |params| api.list_metadata(params).await).await?;
        Ok(found.into_iter().map(|item| item.metadata).collect())
    }

    /// Reads the objects of a namespace that have the names of the desired objects.
    ///
    /// # Errors
    /// Returns an error if any of them cannot be read, because an incomplete result would be misleading.
    pub(crate) async fn observe(&self, namespace: &str, desired: &[Desired]) -> kube::Result<Observed> {
        let reads: FuturesOrdered<_> = desired.iter().map(|desired| self.named(desired, namespace)).collect();
        let found: Vec<_> = reads.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Lists all objects of the baseline kinds in a namespace that have the managed-by label.
    ///
    /// # Errors
    /// Returns an error like [`observe`](Self::observe).
    pub(crate) async fn everything_labelled(&self, namespace: &str) -> kube::Result<Observed> {
        let lists: FuturesOrdered<_> =
            BaselineKind::ALL.into_iter().map(|kind| self.labelled(kind, namespace)).collect();
        Ok(lists.try_concat().await?.into_iter().collect())
    }

    async fn named(&self, desired: &Desired, namespace: &str) -> kube::Result<Option<(Key, Value)>> {
        let found = self.objects(desired.kind, namespace).get_opt(&desired.name).await?;
        Ok(found.map(|found| (desired.key(), value(&found))))
    }

    async fn labelled(&self, kind: BaselineKind, namespace: &str) -> kube::Result<Vec<(Key, Value)>> {
        let params = ListParams::default().labels(keys::MANAGED_BY);
        let list = self.objects(kind, namespace).list(&params).await?;
        Ok(list
            .items
            .iter()
            .map(|object| ((kind, object.metadata.name.clone().unwrap_or_default()), value(object)))
            .collect())
    }

    /// Applies an object in its desired state. Fields that the apply leaves in place, because another field manager or
    /// no field manager owns them, are then overwritten: a key of a quota, for example.
    ///
    /// # Errors
    /// Returns an error if the API server refuses it, or if another client wrote in between.
    pub(crate) async fn apply(&self, namespace: &str, desired: &Desired) -> kube::Result<Value> {
        let params = PatchParams { dry_run: self.dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
        let objects = self.objects(desired.kind, namespace);
        fault::point(Point::BeforeApply(desired.kind), namespace);
        let mut applied = objects.patch(&desired.name, &params, &Patch::Apply(&desired.object)).await?;
        if !desired.differences(&value(&applied)).is_empty() {
            for (field, value) in desired.fields() {
                applied.data[field] = value.clone();
            }
            let params = PostParams { dry_run: self.dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
            applied = objects.replace(&desired.name, &params, &applied).await?;
        }
        fault::point(Point::AfterApply(desired.kind), namespace);
        Ok(value(&applied))
    }

    /// Deletes an object, only if it has the uid if one is given. A missing object is not an error.
    ///
    /// # Errors
    /// Returns an error if the API server refuses it, or if another object has the name by now.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        kind: BaselineKind,
        name: &str,
        uid: Option<String>,
    ) -> kube::Result<()> {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        // The dry run is in the body: next to preconditions, it would be ignored in the query.
        let params = DeleteParams { dry_run: self.dry_run, preconditions, ..DeleteParams::default() };
        match self.objects(kind, namespace).delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other?),
        }
        fault::point(Point::AfterDelete(kind), namespace);
        Ok(())
    }

    /// Writes annotations of a namespace; `None` removes one. Another namespace of the same name is not changed.
    ///
    /// # Errors
    /// Returns an error if the API server refuses it.
    pub(crate) async fn annotate(
        &self,
        namespace: &str,
        uid: &str,
        annotations: &[(&str, Option<String>)],
    ) -> kube::Result<()> {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let patch = json!({"metadata": {"uid": uid, "annotations": annotations}});
        let params = PatchParams {
            dry_run: self.dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.namespaces().patch_metadata(namespace, &params, &Patch::Merge(patch)).await.map(drop)
    }
}

fn value(object: &DynamicObject) -> Value {
    // Cannot fail: the object was parsed from JSON a moment ago.
    serde_json::to_value(object).unwrap_or_default()
}
