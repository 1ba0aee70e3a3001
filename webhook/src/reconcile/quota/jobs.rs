//! The cache of agent Jobs from a watch, and the requests about each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use codex_k8s_shared::keys;
use codex_k8s_shared::sanitize::UNKNOWN;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::fault::{self, Point};
use super::job::{AgentJob, Stage};
use super::reservations::Holder;
use crate::baseline::meta::MetaExt;
use codex_k8s_shared::install::FIELD_MANAGER;

/// The agent Jobs and the managed namespaces.
pub struct AgentJobs {
    client: Client,
    cluster: Cluster,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<Holder, AgentJob>,
    /// The projects of the managed namespaces.
    projects: HashMap<String, String>,
    /// Namespaces that were found not to be managed. A watch reports when one becomes managed.
    unmanaged: HashSet<String>,
}

impl AgentJobs {
    /// Creates an empty cache.
    pub(crate) fn new(client: Client, cluster: Cluster) -> Self {
        Self { client, cluster, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the cache.
    pub(crate) fn reset(&self) {
        *self.state() = State::default();
    }

    /// Records a managed namespace from a watch.
    pub(crate) fn on_namespace_apply(&self, meta: &ObjectMeta) {
        self.state().projects.insert(meta.name.clone().unwrap_or_default(), project(meta));
    }

    /// Removes a namespace that the watch reports as deleted.
    pub(crate) fn on_namespace_delete(&self, name: &str) {
        self.state().projects.remove(name);
    }

    /// Records a Job from a watch or a response.
    pub(crate) fn on_apply(&self, job: &Job) {
        let (job, mut state) = (AgentJob::of(job), self.state());
        let holder = job.holder();
        if !state.jobs.get(&holder).is_some_and(|known| job.is_older_than(known)) {
            state.jobs.insert(holder, job);
        }
    }

    /// Removes a Job that the watch reports as deleted.
    pub(crate) fn on_delete(&self, job: &Job) {
        let (job, mut state) = (AgentJob::of(job), self.state());
        if state.jobs.get(&job.holder()).is_some_and(|known| known.uid == job.uid) {
            state.jobs.remove(&job.holder());
        }
    }

    /// Replaces all Jobs with a complete list.
    pub(crate) fn replace(&self, jobs: Vec<AgentJob>) {
        self.state().jobs = jobs.into_iter().map(|job| (job.holder(), job)).collect();
    }

    /// Returns the Jobs in managed namespaces that have not ended, each with its project.
    ///
    /// # Errors
    /// Returns an error if a namespace that no watch has reported yet cannot be read.
    pub(crate) async fn of_managed_namespaces(&self) -> kube::Result<Vec<(AgentJob, String)>> {
        for namespace in self.of_unknown_namespaces() {
            let found = self.cluster.namespace(&namespace).await?.filter(MetaExt::is_managed);
            let mut state = self.state();
            match &found {
                Some(meta) => drop(state.projects.insert(namespace, project(meta))),
                None => drop(state.unmanaged.insert(namespace)),
            }
        }
        let state = self.state();
        let lives = state.jobs.values().filter(|job| job.stage != Stage::Ended);
        let owned = lives.filter_map(|job| Some((job.clone(), state.projects.get(&job.namespace)?.clone())));
        Ok(owned.collect())
    }

    /// Returns the namespaces with Jobs that no watch has reported as managed.
    fn of_unknown_namespaces(&self) -> BTreeSet<String> {
        let state = self.state();
        let needs_namespace = |job: &&AgentJob| match job.stage {
            Stage::Ended => false,
            // The Job is pending because its namespace is managed, even if that was different before.
            Stage::Pending => true,
            Stage::Works | Stage::Rests => !state.unmanaged.contains(&job.namespace),
        };
        let namespaces = state.jobs.values().filter(needs_namespace).map(|job| &job.namespace);
        namespaces.filter(|namespace| !state.projects.contains_key(*namespace)).cloned().collect()
    }

    fn api(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Reads a Job and returns true if it has ended or is gone.
    ///
    /// # Errors
    /// Returns an error if the request fails, which does not mean that the Job is gone.
    pub(crate) async fn is_over(&self, namespace: &str, name: &str, uid: &str) -> kube::Result<bool> {
        let found = self.api(namespace).get_opt(name).await?.map(|job| AgentJob::of(&job));
        Ok(found.is_none_or(|job| job.uid != uid || job.stage == Stage::Ended))
    }

    /// Lifts the suspension of a Job. Returns `false` if the Job has another version than the cached one.
    ///
    /// # Errors
    /// Returns an error if the request fails or is refused.
    pub(crate) async fn start(&self, job: &AgentJob, reserved: bool) -> kube::Result<bool> {
        let holder = job.holder().to_string();
        fault::point(Point::BeforeStart, &holder);
        let annotations =
            json!({keys::JOB_PENDING_REASON: null, keys::JOB_ADMITTED_AT: reserved.then(written)});
        let started = self.patch(job, annotations, Some(false)).await?;
        fault::point(Point::AfterStart, &holder);
        Ok(started)
    }

    /// Records on a Job that it has a reservation, if another client has lifted its suspension. Returns `false` if the
    /// Job has another version than the cached one.
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
    pub(crate) async fn note(&self, job: &AgentJob) -> kube::Result<bool> {
        self.patch(job, json!({keys::JOB_PENDING_REASON: null, keys::JOB_ADMITTED_AT: written()}), None).await
    }

    /// Writes the reason why a Job is pending. Returns `false` if the Job has another version than the cached one.
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
    pub(crate) async fn set_pending_reason(&self, job: &AgentJob, waits: &str) -> kube::Result<bool> {
        self.patch(job, json!({keys::JOB_PENDING_REASON: waits}), None).await
    }

    async fn patch(&self, job: &AgentJob, annotations: Value, suspend: Option<bool>) -> kube::Result<bool> {
        let metadata = json!({"uid": job.uid, "resourceVersion": job.version, "annotations": annotations});
        let mut patch = json!({"metadata": metadata});
        if let Some(suspend) = suspend {
            patch["spec"] = json!({"suspend": suspend});
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(&job.namespace).patch(&job.name, &params, &Patch::Merge(patch)).await {
            Ok(patched) => {
                self.on_apply(&patched);
                Ok(true)
            }
            // The watch will deliver a newer version, or the Job is gone.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn project(meta: &ObjectMeta) -> String {
    meta.label(keys::PROJECT_ID).filter(|label| !label.is_empty()).unwrap_or(UNKNOWN).to_owned()
}

fn written() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
