//! Agent Jobs of a guarded cluster: created, counted, finished, and watched while they work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use codex_k8s_tests::{Identity, Reconciler};
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::task::AbortHandle;

use crate::harness::{Cluster, person};

pub(crate) fn policy(rest: &str) -> String {
    format!("quotas: {{cluster: null, perProject: null, perRequester: null, agentJobsPerProject: {rest}}}\n")
}

pub(crate) fn limit(max: usize) -> String {
    policy(&format!("{{max: {max}}}"))
}

pub(crate) fn job(name: &str) -> Job {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}}))
    .unwrap()
}

pub(crate) fn annotation<'a>(job: &'a Job, key: &str) -> &'a str {
    let annotations = job.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(&format!("codex-k8s.dev/{key}")))
        .map_or("", String::as_str)
}

/// `namespace/name`.
pub(crate) fn whole(job: &Job) -> String {
    format!("{}/{}", job.metadata.namespace.as_ref().unwrap(), job.metadata.name.as_ref().unwrap())
}

pub(crate) fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| matches!(&*it.type_, "Complete" | "Failed") && it.status == "True")
}

pub(crate) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().unwrap().suspend == Some(true)
}

pub(crate) fn works(job: &Job) -> bool {
    !is_suspended(job) && !has_ended(job)
}

pub(crate) fn waits(job: &Job) -> bool {
    is_suspended(job) && !annotation(job, "job-pending-reason").is_empty()
}

fn project(job: &Job) -> String {
    job.metadata.labels.as_ref().unwrap()["codex-k8s.dev/project-id"].clone()
}

/// Records the highest number of Jobs of each project that work at the same time, until it is dropped.
pub(crate) struct Most {
    most: Arc<Mutex<BTreeMap<String, usize>>>,
    task: AbortHandle,
}

impl Most {
    pub(crate) fn begin(cluster: &Cluster) -> Self {
        let most = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let api = Api::<Job>::all(cluster.client(&Identity::Admin));
        let seen = Arc::clone(&most);
        let watching = async move {
            let config = watcher::Config::default().labels("codex-k8s.dev/run-id");
            let mut events = std::pin::pin!(watcher(api, config));
            let mut all = BTreeMap::new();
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    watcher::Event::InitApply(job) | watcher::Event::Apply(job) => {
                        all.insert(whole(&job), (project(&job), works(&job)));
                    }
                    watcher::Event::Delete(job) => drop(all.remove(&whole(&job))),
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
                let mut counts = BTreeMap::<String, usize>::new();
                for (project, _) in all.values().filter(|(_, works)| *works) {
                    *counts.entry(project.clone()).or_default() += 1;
                }
                let mut most = seen.lock().unwrap_or_else(PoisonError::into_inner);
                for (project, count) in counts {
                    let known = most.entry(project).or_default();
                    *known = count.max(*known);
                }
            }
        };
        Self { most, task: cluster.runtime.spawn(watching).abort_handle() }
    }

    #[track_caller]
    pub(crate) fn is(&self, project: &str, count: usize) {
        assert!(!self.task.is_finished(), "the watch goes on");
        let most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(most.get(project), Some(&count), "{most:?}");
    }
}

impl Drop for Most {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    /// Creates a ready run namespace in a project.
    pub(crate) fn ready(&self, name: &str, project: &str) -> String {
        self.create(&person("jane"), name, project).unwrap();
        self.await_ready(name);
        name.to_owned()
    }

    pub(crate) fn jobs_in(&self, identity: &Identity, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client(identity), namespace)
    }

    pub(crate) fn create_job(&self, identity: &Identity, namespace: &str, job: &Job) -> kube::Result<Job> {
        let api = self.jobs_in(identity, namespace);
        self.runtime.block_on(api.create(&PostParams::default(), job))
    }

    /// Waits until new Jobs are pending, with dry runs only.
    ///
    /// A policy that is reloaded between the mutating and the validating call of one request
    /// refuses that request, which says to create it again.
    #[track_caller]
    pub(crate) fn await_limit(&self, namespace: &str) {
        let api = self.jobs_in(&person("jane"), namespace);
        let dry_run = PostParams { dry_run: true, field_manager: None };
        self.eventually("the webhook knows the limit", || {
            match self.runtime.block_on(api.create(&dry_run, &job("probe"))) {
                Err(kube::Error::Api(status)) if status.message.contains("QUOTA004") => None,
                created => waits(&created.unwrap()).then_some(()),
            }
        });
    }

    pub(crate) fn read_job(&self, namespace: &str, name: &str) -> Job {
        self.runtime.block_on(self.jobs_in(&Identity::Admin, namespace).get(name)).unwrap()
    }

    /// The Jobs of a project that pass a filter, in the order of their admission.
    pub(crate) fn jobs(&self, of: &str, passes: impl Fn(&Job) -> bool) -> Vec<Job> {
        let api = Api::<Job>::all(self.client(&Identity::Admin));
        let agents = ListParams::default().labels("codex-k8s.dev/run-id");
        let mut jobs = self.runtime.block_on(api.list(&agents)).unwrap().items;
        jobs.retain(|job| project(job) == of && passes(job));
        jobs.sort_by_key(|job| (job.metadata.creation_timestamp.as_ref().unwrap().0, whole(job)));
        jobs
    }

    pub(crate) fn names(&self, of: &str, passes: impl Fn(&Job) -> bool) -> Vec<String> {
        self.jobs(of, passes).iter().map(whole).collect()
    }

    #[track_caller]
    pub(crate) fn await_count(&self, of: &str, count: usize, passes: fn(&Job) -> bool) -> Vec<String> {
        let what = format!("{count} Jobs of {of} are as they are to be");
        self.eventually(&what, || Some(self.names(of, passes)).filter(|names| names.len() == count))
    }

    /// The Leases that are reservations of Jobs.
    pub(crate) fn job_reservations(&self) -> Vec<String> {
        let api = Api::<Lease>::namespaced(self.client(&Identity::Admin), "codex-k8s-guard");
        let reservations = ListParams::default().labels("guard.codex-k8s.dev/job-reservation=agent-jobs");
        let reservations = self.runtime.block_on(api.list(&reservations)).unwrap().items;
        let mut holders: Vec<_> = reservations
            .into_iter()
            .map(|reservation| reservation.spec.unwrap().holder_identity.unwrap())
            .collect();
        holders.sort();
        holders
    }

    #[track_caller]
    pub(crate) fn each_holds_one_reservation(&self, jobs: &[String]) {
        let jobs: BTreeSet<_> = jobs.iter().collect();
        self.eventually("each of those that work holds one reservation, and nobody else does", || {
            self.job_reservations().iter().eq(jobs.iter().copied()).then_some(())
        });
    }

    /// Marks the Job's Pod as succeeded, as a kubelet does.
    #[track_caller]
    pub(crate) fn finish(&self, job: &str) {
        let (namespace, name) = job.split_once('/').unwrap();
        let pods = Api::<Pod>::namespaced(self.client(&Identity::Admin), namespace);
        let of_the_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        let pod = self.eventually(&format!("{job} has its Pod"), || {
            self.runtime.block_on(pods.list(&of_the_job)).unwrap().items.pop()
        });
        let succeeded = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
        let (pod, params) = (pod.metadata.name.unwrap(), PatchParams::default());
        let kubelet = Api::<Pod>::namespaced(self.client(&Identity::kubelet()), namespace);
        self.runtime.block_on(kubelet.patch_status(&pod, &params, &succeeded)).unwrap();
        self.eventually(&format!("{job} is complete"), || {
            has_ended(&self.read_job(namespace, name)).then_some(())
        });
    }

    /// The reasons of the Events about a Job.
    pub(crate) fn job_events(&self, job: &str) -> Vec<String> {
        let (namespace, name) = job.split_once('/').unwrap();
        let api = Api::<Event>::namespaced(self.client(&Identity::Admin), namespace);
        let about =
            ListParams::default().fields(&format!("involvedObject.kind=Job,involvedObject.name={name}"));
        let events = self.runtime.block_on(api.list(&about)).unwrap();
        events.items.into_iter().filter_map(|event| event.reason).collect()
    }
}

pub(crate) fn one_more(cluster: &Cluster, name: &str, args: &[&str]) -> Reconciler {
    let mut all = vec!["--no-leader-election".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    cluster.guard.one_more_reconciler(name, &all).unwrap()
}
