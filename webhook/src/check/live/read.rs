//! Reads a live cluster page by page. Never writes.

use std::cell::Cell;
use std::fmt::{self, Write as _};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, ListParams, ObjectList};
use kube::core::Status;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::{LISTED, Listed};
use super::live_check::LiveCheck;
use crate::check::CheckError;

/// Objects per page: this much of a cluster is in memory at a time.
const PAGE: u32 = 500;
/// Maximum number of restarts of a list whose continue token has expired.
const RESTARTS: usize = 5;
/// The resource that is always read.
const NAMESPACES: &str = "namespaces";

/// The reason why a cluster could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The user may not read it.
    #[error(
        "failed to list {resource}: {message}; \
         grant it (deploy/base/check.yaml has a ClusterRole){remedy}"
    )]
    Forbidden {
        /// The resource.
        resource: &'static str,
        /// The message of the API server.
        message: String,
        /// The alternatives.
        remedy: String,
    },
    /// There is no such namespace.
    #[error("found no namespace {name}; expected one that --namespace names")]
    NoNamespace {
        /// Its name.
        name: String,
    },
    /// The API server did not answer, or answered with an error.
    #[error("failed to list {resource}")]
    Failed {
        /// The resource.
        resource: &'static str,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// Objects could not be evaluated.
    #[error("failed to evaluate {resource}")]
    Evaluator {
        /// The resource.
        resource: &'static str,
        /// The cause.
        #[source]
        source: CheckError,
    },
}

/// The progress of reading a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The current resource.
    pub resource: &'static str,
    /// The number of resources that have been read.
    pub done: usize,
    /// The number of all resources to read.
    pub of: usize,
    /// The number of objects of the current resource that have been read.
    pub read: usize,
    /// The number of remaining objects, according to the API server.
    pub left: usize,
}

/// Reads a cluster.
pub struct Reader<'a> {
    client: Client,
    namespace: Option<&'a str>,
    without: &'a [String],
    progress: &'a dyn Fn(Progress),
    requests: Cell<usize>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reader").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Reads the whole cluster or one of its namespaces, without the excluded resources.
    pub fn new(
        client: Client,
        namespace: Option<&'a str>,
        without: &'a [String],
        progress: &'a dyn Fn(Progress),
    ) -> Self {
        Self { client, namespace, without, progress, requests: Cell::new(0) }
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> usize {
        self.requests.get()
    }

    /// Returns the resources to read: for one namespace, only the namespaced ones.
    fn listed(&self) -> Vec<&'static Listed> {
        let is_desired = |listed: &&Listed| {
            let left_out = self.without.iter().any(|without| without == listed.plural);
            !left_out && (listed.is_namespaced || self.namespace.is_none())
        };
        LISTED.iter().filter(is_desired).collect()
    }

    /// Reads everything into a live check.
    ///
    /// # Errors
    /// If anything cannot be read or evaluated: half a cluster would give a wrong result.
    pub async fn read(&self, live_check: &mut LiveCheck) -> Result<(), ReadError> {
        let listed = self.listed();
        let of = listed.len() + 1;
        let evaluate = |resource| move |source| ReadError::Evaluator { resource, source };
        let namespaces = self.namespaces(of).await?;
        live_check.take_namespaces(namespaces).await.map_err(evaluate(NAMESPACES))?;
        for (done, listed) in listed.into_iter().enumerate() {
            self.objects(live_check, listed, done + 1, of).await?;
        }
        Ok(())
    }

    async fn namespaces(&self, of: usize) -> Result<Vec<Value>, ReadError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        if let Some(name) = self.namespace {
            self.requests.set(self.requests.get() + 1);
            let found = api.get_opt(name).await.map_err(|error| self.failed(NAMESPACES, error))?;
            let found = found.ok_or_else(|| ReadError::NoNamespace { name: name.to_owned() })?;
            return Ok(vec![typed(&found)]);
        }
        let mut params = ListParams::default().limit(PAGE);
        let (mut all, mut restarts) = (Vec::new(), 0);
        loop {
            let Some(page) = self.page(NAMESPACES, &api, &params, &mut restarts).await? else {
                (all, params) = (Vec::new(), ListParams::default().limit(PAGE));
                continue;
            };
            all.extend(page.items.iter().map(typed));
            self.report_progress(NAMESPACES, 0, of, all.len(), &page);
            match next(&page) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    async fn objects(
        &self,
        live_check: &mut LiveCheck,
        listed: &'static Listed,
        done: usize,
        of: usize,
    ) -> Result<(), ReadError> {
        let resource = listed.plural;
        let api: Api<DynamicObject> = match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &listed.resource()),
            None => Api::all_with(self.client.clone(), &listed.resource()),
        };
        let first = || {
            let params = ListParams::default().limit(PAGE);
            listed.only_type.iter().fold(params, |params, only| params.fields(&format!("type={only}")))
        };
        let mark = live_check.mark();
        let (mut params, mut restarts, mut read) = (first(), 0, 0);
        loop {
            let Some(page) = self.page(resource, &api, &params, &mut restarts).await? else {
                live_check.return_to(mark);
                (params, read) = (first(), 0);
                continue;
            };
            read += page.items.len();
            self.report_progress(resource, done, of, read, &page);
            let token = next(&page);
            let items = page.items.iter().map(value).collect();
            live_check
                .take(listed, items)
                .await
                .map_err(|source| ReadError::Evaluator { resource, source })?;
            match token {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Returns a page; `None` if the list must be restarted.
    async fn page<K>(
        &self,
        resource: &'static str,
        api: &Api<K>,
        params: &ListParams,
        restarts: &mut usize,
    ) -> Result<Option<ObjectList<K>>, ReadError>
    where
        K: Clone + DeserializeOwned + fmt::Debug,
    {
        self.requests.set(self.requests.get() + 1);
        match api.list(params).await {
            Ok(page) => Ok(Some(page)),
            Err(kube::Error::Api(status)) if status.code == 410 && *restarts < RESTARTS => {
                *restarts += 1;
                Ok(None)
            }
            Err(error) => Err(self.failed(resource, error)),
        }
    }

    fn failed(&self, resource: &'static str, error: kube::Error) -> ReadError {
        match error {
            kube::Error::Api(status) if is_forbidden(&status) => {
                let mut remedy = String::new();
                if resource != NAMESPACES {
                    let _ = write!(remedy, ", or leave them out by --without {resource}");
                }
                if self.namespace.is_none() {
                    remedy.push_str(", or look at one namespace by --namespace");
                }
                ReadError::Forbidden { resource, message: status.message, remedy }
            }
            error => ReadError::Failed { resource, source: Box::new(error) },
        }
    }

    fn report_progress<K: Clone>(
        &self,
        resource: &'static str,
        done: usize,
        of: usize,
        read: usize,
        page: &ObjectList<K>,
    ) {
        let left = page.metadata.remaining_item_count.unwrap_or_default();
        (self.progress)(Progress { resource, done, of, read, left: left.try_into().unwrap_or_default() });
    }
}

fn is_forbidden(status: &Status) -> bool {
    matches!(status.code, 401 | 403)
}

fn next<K: Clone>(page: &ObjectList<K>) -> Option<String> {
    page.metadata.continue_.clone().filter(|token| !token.is_empty())
}

/// Converts an object to JSON. This cannot fail, because it was parsed from JSON.
fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn typed(namespace: &Namespace) -> Value {
    let mut object = value(namespace);
    object["apiVersion"] = "v1".into();
    object["kind"] = "Namespace".into();
    object
}

#[cfg(test)]
mod tests;
