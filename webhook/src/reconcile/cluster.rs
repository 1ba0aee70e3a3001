//! The API server, as far as the reconciler needs it.

use std::fmt;

use codex_k8s_shared::baseline::{BaselineKind, Desired};
use codex_k8s_shared::keys;
use futures::TryStreamExt;
use futures::stream::FuturesOrdered;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::plan::Observed;
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

    /// What a namespace holds: everything with the managed-by label, and what has the name of a wanted object.
    ///
    /// # Errors
    /// If any of it cannot be read: half a picture is none.
    pub async fn observe(&self, namespace: &str, desired: &[Desired]) -> kube::Result<Observed> {
        let lists: FuturesOrdered<_> =
            BaselineKind::ALL.into_iter().map(|kind| self.labelled(kind, namespace)).collect();
        let mut observed: Observed = lists.try_concat().await?.into_iter().collect();
        for wanted in desired {
            let key = (wanted.kind, wanted.name.clone());
            if !observed.contains_key(&key)
                && let Some(found) = self.objects(wanted.kind, namespace).get_opt(&wanted.name).await?
            {
                observed.insert(key, value(&found));
            }
        }
        Ok(observed)
    }

    async fn labelled(
        &self,
        kind: BaselineKind,
        namespace: &str,
    ) -> kube::Result<Vec<((BaselineKind, String), Value)>> {
        let params = ListParams::default().labels(keys::MANAGED_BY);
        let list = self.objects(kind, namespace).list(&params).await?;
        Ok(list
            .items
            .iter()
            .map(|object| ((kind, object.metadata.name.clone().unwrap_or_default()), value(object)))
            .collect())
    }

    /// Applies an object as it is to be.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn apply(&self, namespace: &str, wanted: &Desired) -> kube::Result<Value> {
        let params = PatchParams { dry_run: self.dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
        let objects = self.objects(wanted.kind, namespace);
        let applied = objects.patch(&wanted.name, &params, &Patch::Apply(&wanted.object)).await?;
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
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes annotations of a namespace; `None` removes one. Another namespace of the same name is not touched.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn annotate(
        &self,
        namespace: &str,
        uid: Option<&str>,
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
