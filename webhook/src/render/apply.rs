//! Creates the rendered objects and follows the Job.

use std::time::{Duration, Instant};

use codex_k8s_shared::keys;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::State;

/// Timeout for the gate of a new namespace, and for other retryable denials.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Default retry delay.
const PAUSE: Duration = Duration::from_secs(1);

/// A client that creates objects.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// The outcome for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It already existed, for the same run.
    Reused,
}

/// The reason why an object was not created.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object with that name belongs to another manager or run.
    #[error(
        "{object} exists and is not this run's: {key} is {found}; expected {expected:?}; it is left as it is"
    )]
    Conflict {
        /// The object.
        object: String,
        /// The label that differs.
        key: &'static str,
        /// Its value.
        found: String,
        /// The value for this run.
        expected: String,
    },
    /// An object with that name is being deleted.
    #[error("{object} is being deleted; apply again when it is gone")]
    Terminating {
        /// The object.
        object: String,
    },
    /// The API server or a webhook denied the request.
    #[error("the API server refuses {object}: {message}")]
    Refused {
        /// The object.
        object: String,
        /// The message.
        message: String,
    },
    /// The API server did not give a usable answer.
    #[error("failed to create {object}")]
    Failed {
        /// The object.
        object: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Creates objects with this client.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates the Namespace of a run, unless it already exists for the run.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn apply_namespace(&self, desired: &Namespace) -> Result<(String, Applied), ApplyError> {
        let object = format!("namespace {}", desired.name_any());
        let whose = [keys::MANAGED_BY, keys::NAMESPACE_PURPOSE, keys::RUN_ID, keys::PROJECT_ID];
        let applied = apply(&Api::all(self.client.clone()), &object, desired, &whose).await?;
        Ok((object, applied))
    }

    /// Creates the Job of a run, unless it already exists for the run. Waits while the namespace is not ready.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn apply_job(&self, desired: &Job) -> Result<(String, Applied), ApplyError> {
        let namespace = desired.namespace().unwrap_or_default();
        let object = format!("job {namespace}/{}", desired.name_any());
        let applied = apply(&self.of_namespace::<Job>(&namespace), &object, desired, &[keys::RUN_ID]).await?;
        Ok((object, applied))
    }

    /// Streams the states of a Job as they change.
    pub fn follow(&self, job: &Job) -> impl Stream<Item = Result<State, watcher::Error>> + use<> {
        let api = self.of_namespace::<Job>(&job.namespace().unwrap_or_default());
        let seen = watcher::watch_object(api, &job.name_any()).default_backoff();
        seen.map(|job| Ok(State::of(job?.as_ref())))
    }

    fn of_namespace<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Returns true if a retry is pointless, because the user may not watch the Job.
pub const fn is_final(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 401 | 403),
        _ => false,
    }
}

async fn apply<K>(
    api: &Api<K>,
    object: &str,
    desired: &K,
    whose: &[&'static str],
) -> Result<Applied, ApplyError>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let begun = Instant::now();
    loop {
        let Err(error) = api.create(&PostParams::default(), desired).await else {
            return Ok(Applied::Created);
        };
        let (code, reason) = match &error {
            kube::Error::Api(status) => (status.code, status.reason.as_str()),
            _ => (0, ""),
        };
        match code {
            409 if reason == "AlreadyExists" => {
                let found = api.get_opt(&desired.name_any()).await.map_err(|error| failed(object, error))?;
                // The existing object has been deleted in the meantime: create it again.
                let Some(found) = found else { continue };
                return is_the_runs(&found, object, desired, whose).map(|()| Applied::Reused);
            }
            429 if begun.elapsed() < TIMEOUT => tokio::time::sleep(pause(&error)).await,
            _ => return Err(failed(object, error)),
        }
    }
}

/// Returns the delay that the API server suggests.
fn pause(error: &kube::Error) -> Duration {
    let seconds = match error {
        kube::Error::Api(status) => status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    if seconds == 0 { PAUSE } else { Duration::from_secs(seconds.into()) }
}

fn is_the_runs<K: kube::Resource>(
    found: &K,
    object: &str,
    desired: &K,
    whose: &[&'static str],
) -> Result<(), ApplyError> {
    for &key in whose {
        let expected = desired.labels().get(key).cloned().unwrap_or_default();
        let label = found.labels().get(key);
        if label != Some(&expected) {
            let found = label.map_or_else(|| "not there".to_owned(), |label| format!("{label:?}"));
            return Err(ApplyError::Conflict { object: object.to_owned(), key, found, expected });
        }
    }
    if found.meta().deletion_timestamp.is_some() {
        return Err(ApplyError::Terminating { object: object.to_owned() });
    }
    Ok(())
}

fn failed(object: &str, error: kube::Error) -> ApplyError {
    let object = object.to_owned();
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            ApplyError::Refused { object, message: status.message.clone() }
        }
        error => ApplyError::Failed { object, source: Box::new(error) },
    }
}
