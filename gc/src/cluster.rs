//! The garbage collector's client of the API server.

pub(crate) mod blockers;
pub mod work;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::{errors, keys, paged};
use jiff::fmt::rfc2822;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions, PropagationPolicy};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use tower::buffer::BufferLayer;
use tower::limit::RateLimitLayer;
use tower::retry::RetryLayer;

use crate::breaker;
use crate::clock::Clock;

/// The timeout for a connection to the API server.
const CONNECT: Duration = Duration::from_secs(10);
/// The timeout for a response.
const ANSWER: Duration = Duration::from_mins(1);
/// The number of times that a request is repeated if the API server requests it: about ten seconds in total.
const RETRIES: u32 = 7;
/// The first pause, unless the API server requests another.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The number of requests that may be queued.
const BUFFERED: usize = 1024;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A request without a usable response.
#[derive(Debug, thiserror::Error)]
#[error("failed to {act}")]
pub struct ClusterError {
    act: String,
    #[source]
    source: BoxError,
}

impl ClusterError {
    pub(crate) fn new(act: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { act: act.into(), source: source.into() }
    }
}

/// The result of a request to delete a namespace.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// The request was accepted: the namespace is terminating, or would be in a dry run.
    Accepted,
    /// The namespace has changed since the decision.
    Changed,
    /// The namespace does not exist.
    Absent,
    /// The request was rejected, and repeating it would not help.
    Refused(String),
    /// The result is unknown, because there was no response.
    Unknown(String),
}

/// A client that reads the cluster, and whose only write to a namespace is its deletion.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The client of a configuration, limited to this many requests per second.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(mut config: Config, requests_per_second: u32) -> Result<Self, ClusterError> {
        let failed = "connect to the cluster";
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        // By default, the client would retry for minutes.
        config.default_retry = false;
        let retry = RetryPolicy::new(SHORTEST_PAUSE, LONGEST_PAUSE, RETRIES, true);
        let retry = RetryLayer::new(retry.map_err(|error| ClusterError::new(failed, error))?);
        let limit = RateLimitLayer::new(u64::from(requests_per_second.max(1)), Duration::from_secs(1));
        let builder = ClientBuilder::try_from(config).map_err(|error| ClusterError::new(failed, error))?;
        let buffer = BufferLayer::new(BUFFERED);
        Ok(Self { client: builder.with_layer(&buffer).with_layer(&retry).with_layer(&limit).build() })
    }

    /// The client, for requests that are not about run namespaces.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client())
    }

    /// All namespaces with the managed-by label, as of one moment.
    ///
    /// # Errors
    /// If one page cannot be read, because a partial list is of no use.
    pub(crate) async fn managed(&self) -> Result<Vec<Candidate>, ClusterError> {
        let api = self.namespaces();
        let params = ListParams::default().labels(keys::MANAGED_BY);
        let listed = paged::all(&params, async |params| api.list_metadata(params).await).await;
        let listed = listed.map_err(|error| ClusterError::new("list the managed namespaces", error))?;
        Ok(listed.into_iter().map(|namespace| Candidate::from(&namespace.metadata)).collect())
    }

    /// The metadata of all namespaces, managed or not.
    ///
    /// # Errors
    /// If one page cannot be read.
    pub(crate) async fn all_namespaces(&self) -> Result<Vec<PartialObjectMeta<Namespace>>, ClusterError> {
        let api = self.namespaces();
        let listed = paged::all(&ListParams::default(), async |params| api.list_metadata(params).await).await;
        listed.map_err(|error| ClusterError::new("list the namespaces", error))
    }

    /// All objects of a kind.
    ///
    /// # Errors
    /// As [`list_with`](Self::list_with).
    pub(crate) async fn list_of<K>(&self, what: &str, api: Api<K>) -> Result<Vec<K>, ClusterError>
    where
        K: Clone + DeserializeOwned + fmt::Debug,
    {
        self.list_with(what, api, &ListParams::default()).await
    }

    /// The objects of a kind that match a selector.
    ///
    /// # Errors
    /// If one page cannot be read.
    pub(crate) async fn list_with<K>(
        &self,
        what: &str,
        api: Api<K>,
        params: &ListParams,
    ) -> Result<Vec<K>, ClusterError>
    where
        K: Clone + DeserializeOwned + fmt::Debug,
    {
        let listed = paged::all(params, async |params| api.list(params).await).await;
        listed.map_err(|error| ClusterError::new(format!("list the {what}"), error))
    }

    /// The current state of a namespace, managed or not.
    ///
    /// # Errors
    /// If the API server does not respond, which does not mean that the namespace is absent.
    pub async fn fresh(&self, name: &str) -> Result<Option<Candidate>, ClusterError> {
        let read = self.namespaces().get_metadata_opt(name).await;
        let read = read.map_err(|error| ClusterError::new(format!("read namespace {name}"), error))?;
        Ok(read.map(|namespace| Candidate::from(&namespace.metadata)))
    }

    /// The local clock minus the API server's, from the header of any response; `None` if it has none.
    ///
    /// # Errors
    /// If the API server does not respond.
    pub(crate) async fn ahead(&self, clock: Clock) -> Result<Option<jiff::SignedDuration>, ClusterError> {
        let failed = |error: BoxError| ClusterError::new("ask the API server for its time", error);
        let request =
            http::Request::get("/version").body(Body::empty()).map_err(|error| failed(error.into()))?;
        let answer = self.client.send(request).await.map_err(|error| failed(error.into()))?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok());
        Ok(date.map(|date| breaker::ahead_of(date.timestamp(), clock.now())))
    }

    /// Deletes a namespace on the condition that its uid and version are those of the decision.
    pub(crate) async fn delete(&self, candidate: &Candidate, dry_run: bool) -> Deletion {
        let preconditions = Preconditions {
            uid: Some(candidate.uid.clone()),
            resource_version: Some(candidate.resource_version.clone()),
        };
        // All options are in the body. As a query parameter, dryRun would be ignored when there are preconditions,
        // and the namespace would really be deleted.
        let params = DeleteParams {
            dry_run,
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match self.namespaces().delete(&candidate.name, &params).await {
            Ok(_) => Deletion::Accepted,
            Err(kube::Error::Api(status)) if status.is_not_found() => Deletion::Absent,
            Err(kube::Error::Api(status)) if status.is_conflict() => Deletion::Changed,
            Err(kube::Error::Api(status)) if status.code < 500 => {
                Deletion::Refused(format!("{} ({})", status.message, status.code))
            }
            Err(error) => Deletion::Unknown(errors::chain(&error)),
        }
    }
}
