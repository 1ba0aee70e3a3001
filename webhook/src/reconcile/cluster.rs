//! The API server, as far as the reconciler needs it.

use std::fmt;

use codex_k8s_shared::baseline::{BaselineKind, Desired};
use codex_k8s_shared::keys;
use futures::TryStreamExt;
use futures::stream::FuturesOrdered;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::fault::{self, Point};
use super::plan::{Key, Observed};
use crate::registration::FIELD_MANAGER;

/// How baseline objects are spoken of to the API server.
pub fn resource(kind: BaselineKind) -> ApiResource {
    let group = kind.group();
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.as_str().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// Reads and writes of one namespace. Each write names our field manager.
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
    /// With `dry_run`, the API server is asked what each write would do, and does nothing.
    pub const fn new(client: Client, dry_run: bool) -> Self {
        Self { client, dry_run }
    }

    /// Whether nothing is written.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    fn objects(&self, kind: BaselineKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// The metadata of a namespace, managed or not, as it is now; `None` if there is none of this name.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn namespace(&self, name: &str) -> kube::Result<Option<ObjectMeta>> {
        Ok(self.namespaces().get_metadata_opt(name).await?.map(|found| found.metadata))
    }

    /// All managed namespaces.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn managed_namespaces(&self) -> kube::Result<Vec<ObjectMeta>> {
        let mut all = Vec::new();
        let mut params = ListParams::default().labels(keys::MANAGED_BY).limit(500);
        loop {
            let page = self.namespaces().list_metadata(&params).await?;
            all.extend(page.items.into_iter().map(|item| item.metadata));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// What a namespace holds under the names of the wanted objects.
    ///
    /// # Errors
    /// If any of it cannot be read: half a picture is none.
    pub async fn observe(&self, namespace: &str, desired: &[Desired]) -> kube::Result<Observed> {
        let reads: FuturesOrdered<_> = desired.iter().map(|desired| self.named(desired, namespace)).collect();
        let found: Vec<_> = reads.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Everything in a namespace that carries the managed-by label.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn everything_labelled(&self, namespace: &str) -> kube::Result<Observed> {
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

    /// Applies an object as it is to be. What an apply leaves in place, since another field manager owns it or none
    /// does any more, is then written over: a key of a quota, say.
    ///
    /// # Errors
    /// If the API server refuses it, or somebody else wrote in between.
    pub async fn apply(&self, namespace: &str, desired: &Desired) -> kube::Result<Value> {
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

    /// Deletes an object: the one of this uid, if one is given. One that is gone is as good.
    ///
    /// # Errors
    /// If the API server refuses it, or there is another object of the name by now.
    pub async fn delete(
        &self,
        namespace: &str,
        kind: BaselineKind,
        name: &str,
        uid: Option<String>,
    ) -> kube::Result<()> {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        // In the body: in the query it would be ignored beside preconditions.
        let params = DeleteParams { dry_run: self.dry_run, preconditions, ..DeleteParams::default() };
        match self.objects(kind, namespace).delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
        fault::point(Point::AfterDelete(kind), namespace);
        Ok(())
    }

    /// Writes annotations of a namespace; `None` removes one. Another namespace of the same name is not touched.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn annotate(
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
    // Made from JSON a moment ago: it goes back.
    serde_json::to_value(object).unwrap_or_default()
}
