//! Creating what was rendered, and following the Job.

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

/// How long the gate of a new namespace, and whatever else says "later", is waited for.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long is waited where nobody says how long.
const PAUSE: Duration = Duration::from_secs(1);

/// A cluster to create in.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It was there already, of the same run.
    Reused,
}

/// Why an object was not created.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// One of that name is owned by another manager.
    #[error(
        "{object} exists and is not this run's: {key} is {found}; expected {expected:?}; it is left as it is"
    )]
    Conflict {
        /// Which.
        object: String,
        /// The label that tells.
        key: &'static str,
        /// Its value.
        found: String,
        /// That of the run.
        expected: String,
    },
    /// One of that name is on its way out.
    #[error("{object} is being deleted; apply again when it is gone")]
    Terminating {
        /// Which.
        object: String,
    },
    /// The API server, or a webhook of it, refuses it.
    #[error("the API server refuses {object}: {message}")]
    Refused {
        /// Which.
        object: String,
        /// Its words.
        message: String,
    },
    /// The API server gave no answer that can be used.
    #[error("failed to create {object}")]
    Failed {
        /// Which.
        object: String,
        /// Why.
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
    /// Creates with this client.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates the Namespace of a run, unless the run has it already.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn apply_namespace(&self, desired: &Namespace) -> Result<(String, Applied), ApplyError> {
        let object = format!("namespace {}", desired.name_any());
        let whose = [keys::MANAGED_BY, keys::NAMESPACE_PURPOSE, keys::RUN_ID, keys::PROJECT_ID];
        let applied = apply(&Api::all(self.client.clone()), &object, desired, &whose).await?;
        Ok((object, applied))
    }

    /// Creates the Job of a run, unless the run has it already. While the namespace is not ready, it is waited for.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn apply_job(&self, desired: &Job) -> Result<(String, Applied), ApplyError> {
        let namespace = desired.namespace().unwrap_or_default();
        let object = format!("job {namespace}/{}", desired.name_any());
        let applied = apply(&self.of_namespace::<Job>(&namespace), &object, desired, &[keys::RUN_ID]).await?;
        Ok((object, applied))
    }

    /// The states of a Job, as they change.
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

/// Whether trying again is of no use: the caller may not follow the Job.
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
                // One that has gone in between makes room.
                let Some(found) = found else { continue };
                return is_the_runs(&found, object, desired, whose).map(|()| Applied::Reused);
            }
            429 if begun.elapsed() < TIMEOUT => tokio::time::sleep(pause(&error)).await,
            _ => return Err(failed(object, error)),
        }
    }
}

/// As long as the API server says.
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
