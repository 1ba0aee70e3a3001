//! Agent Jobs of one project, many at once, over two reconcilers of which one is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use codex_k8s_tests::{Health, Identity, Reconciler};
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};

use crate::harness::{Cluster, person};

const LIMIT: usize = 5;
/// What a Job says that it waits for as long as nobody has looked.
const UNTOLD: &str = "a place among the agent Jobs of its project";

pub(crate) fn policy(rest: &str) -> String {
    format!("quotas: {{cluster: null, perProject: null, agentJobsPerProject: {rest}}}\n")
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

fn has_ended(job: &Job) -> bool {
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
    is_suspended(job) && !annotation(job, "job-waits-for").is_empty()
}

fn project(job: &Job) -> String {
    job.metadata.labels.as_ref().unwrap()["codex-k8s.dev/project-id"].clone()
}

/// Watches how many Jobs of each project work, change by change, until it is dropped.
struct Most {
    most: Arc<Mutex<BTreeMap<String, usize>>>,
    task: AbortHandle,
}

impl Most {
    fn begin(cluster: &Cluster) -> Self {
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
    fn is(&self, project: &str, count: usize) {
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
    /// A run namespace of a project that is ready.
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

    /// Waits until the webhook has new Jobs wait, without creating any.
    #[track_caller]
    pub(crate) fn await_limit(&self, namespace: &str) {
        let api = self.jobs_in(&person("jane"), namespace);
        let dry_run = PostParams { dry_run: true, field_manager: None };
        self.eventually("the webhook knows the limit", || {
            let created = self.runtime.block_on(api.create(&dry_run, &job("probe"))).unwrap();
            waits(&created).then_some(())
        });
    }

    pub(crate) fn read_job(&self, namespace: &str, name: &str) -> Job {
        self.runtime.block_on(self.jobs_in(&Identity::Admin, namespace).get(name)).unwrap()
    }

    /// The Jobs of a project that pass, in the order in which they are to be served.
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

    /// The Leases that are places of Jobs.
    pub(crate) fn job_places(&self) -> Vec<String> {
        let api = Api::<Lease>::namespaced(self.client(&Identity::Admin), "codex-k8s-guard");
        let places = ListParams::default().labels("guard.codex-k8s.dev/job-place=agent-jobs");
        let places = self.runtime.block_on(api.list(&places)).unwrap().items;
        let mut holders: Vec<_> =
            places.into_iter().map(|place| place.spec.unwrap().holder_identity.unwrap()).collect();
        holders.sort();
        holders
    }

    #[track_caller]
    pub(crate) fn each_holds_one_place(&self, jobs: &[String]) {
        let jobs: BTreeSet<_> = jobs.iter().collect();
        self.eventually("each of those that work holds one place, and nobody else does", || {
            self.job_places().iter().eq(jobs.iter().copied()).then_some(())
        });
    }

    /// The Job's Pod succeeds, as a kubelet would say.
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
        self.runtime.block_on(pods.patch_status(&pod, &params, &succeeded)).unwrap();
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

/// Creates Jobs all at once, as many in each namespace.
fn create_all(cluster: &Cluster, namespaces: &[String], each: usize) {
    let client = cluster.client(&person("jane"));
    cluster.runtime.block_on(async {
        let mut creations = JoinSet::new();
        for (number, namespace) in
            (0..each).flat_map(|number| namespaces.iter().map(move |namespace| (number, namespace)))
        {
            let api = Api::<Job>::namespaced(client.clone(), namespace);
            creations.spawn(async move {
                let created =
                    api.create(&PostParams::default(), &job(&format!("job-{number}"))).await.unwrap();
                assert!(waits(&created) && annotation(&created, "job-waits-for") == UNTOLD, "{created:?}");
            });
        }
        creations.join_all().await
    });
}

pub(crate) fn one_more(cluster: &Cluster, name: &str, args: &[&str]) -> Reconciler {
    let mut all = vec!["--no-leader-election".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    cluster.guard.one_more_reconciler(name, &all).unwrap()
}

fn shows(health: Health, metric: &str, value: u64) -> Option<()> {
    (health.metric(&format!("codex_k8s_reconcile_{metric}")).ok() == Some(value)).then_some(())
}

#[test]
fn no_more_agent_jobs_of_a_project_work_at_once_than_the_limit_whatever_is_killed_meanwhile() {
    let cluster = Cluster::with_policy(&limit(LIMIT));
    let second = one_more(&cluster, "reconcile-2", &[]);
    let namespaces: Vec<_> =
        (0..4).map(|number| cluster.ready(&format!("codex-run-jobs-{number}"), "p")).collect();
    let other = cluster.ready("codex-run-other", "q");
    let most = Most::begin(&cluster);

    std::thread::scope(|scope| {
        let creating = scope.spawn(|| create_all(&cluster, &namespaces, 10));
        cluster.eventually("some work already", || (!cluster.names("p", works).is_empty()).then_some(()));
        cluster.guard.reconciler.process.signal("KILL").unwrap();
        creating.join().unwrap();
    });
    let working = cluster.await_count("p", LIMIT, works);
    cluster.each_holds_one_place(&working);
    all_others_say_why(&cluster, &working);
    create_all(&cluster, std::slice::from_ref(&other), LIMIT);
    cluster.await_count("q", LIMIT, works);

    let begun = std::time::Instant::now();
    let mut working = working;
    for round in [1, 2, 5, 5] {
        working = the_oldest_come_in(&cluster, &working, round);
    }
    println!("13 Jobs came in for 13 that ended, in {} ms", begun.elapsed().as_millis());
    let health = second.health;
    cluster.eventually("the metrics show who waits", || shows(health, "jobs_waiting", 22));
    cluster
        .eventually("the metrics show who works", || shows(health, "places_held{scope=\"agent-jobs\"}", 10));
    // Deleted ones are as good as complete ones.
    for namespace in &namespaces {
        cluster.delete(std::slice::from_ref(namespace));
    }
    let of_the_other = cluster.names("q", works);
    cluster.each_holds_one_place(&of_the_other);
    most.is("p", LIMIT);
    most.is("q", LIMIT);
}

#[track_caller]
fn all_others_say_why(cluster: &Cluster, working: &[String]) {
    let text = "a place among the agent Jobs of project p, whose limit is 5; held by codex-run-jobs-";
    cluster.eventually("all that wait say why", || {
        let waiting = cluster.jobs("p", waits);
        let says = |job: &Job| annotation(job, "job-waits-for").starts_with(text);
        (waiting.len() == 35 && waiting.iter().all(says)).then_some(())
    });
    for job in cluster.jobs("p", waits) {
        assert!(annotation(&job, "job-waits-for").ends_with(" and 2 more"), "{job:?}");
        let status = job.status.clone().unwrap_or_default();
        assert!(
            status.start_time.is_none() && !has_ended(&job),
            "the worker takes it for one that runs: {status:?}"
        );
        let job = whole(&job);
        cluster.eventually(&format!("an Event tells why {job} waits"), || {
            cluster.job_events(&job).contains(&"NoPlace".to_owned()).then_some(())
        });
    }
    for job in working {
        let (namespace, name) = job.split_once('/').unwrap();
        let read = cluster.read_job(namespace, name);
        assert!(!annotation(&read, "job-placed-at").is_empty(), "{read:?}");
        assert_eq!(annotation(&read, "job-waits-for"), "");
        cluster.eventually(&format!("an Event tells that {job} has a place"), || {
            cluster.job_events(job).contains(&"Placed".to_owned()).then_some(())
        });
    }
}

/// Some of those that work end: as many come in, and those are the oldest.
#[track_caller]
fn the_oldest_come_in(cluster: &Cluster, working: &[String], count: usize) -> Vec<String> {
    let waiting = cluster.names("p", waits);
    let (ended, stay) = working.split_at(count);
    for job in ended {
        cluster.finish(job);
    }
    let now = cluster.await_count("p", LIMIT, works);
    let expected: BTreeSet<_> = stay.iter().chain(waiting.iter().take(count)).collect();
    assert_eq!(now.iter().collect::<BTreeSet<_>>(), expected);
    now
}

#[test]
fn a_limit_counts_what_works_already_and_evicts_nobody_and_lets_all_go_when_it_is_taken_away() {
    let cluster = Cluster::with_policy(&policy("null"));
    let namespace = cluster.ready("codex-run-switched", "p");
    for number in 0..3 {
        let created = cluster
            .create_job(&Identity::agent(&namespace), &namespace, &job(&format!("old-{number}")))
            .unwrap();
        assert!(works(&created), "nothing limits it");
    }
    cluster.guard.reconciler.process.signal("KILL").unwrap();
    let reconciler = one_more(&cluster, "reconcile-2", &["--linger=3000"]);

    cluster.guard.write_policy(&limit(2)).unwrap();
    let old = cluster.names("p", |_| true);
    cluster.each_holds_one_place(&old);
    cluster.await_limit(&namespace);
    let created = cluster.create_job(&person("jane"), &namespace, &job("new")).unwrap();
    let (waiting, (last, ends)) = (whole(&created), old.split_last().unwrap());
    for job in ends {
        cluster.finish(job);
    }
    cluster.eventually("the one that waits comes in", || {
        cluster.names("p", works).contains(&waiting).then_some(())
    });
    cluster.each_holds_one_place(&[last.clone(), waiting.clone()]);

    cluster.guard.write_policy(&limit(1)).unwrap();
    let lowered = || shows(reconciler.health, "places_limit{scope=\"agent-jobs\"}", 1);
    cluster.eventually("the lower limit is in force", lowered);
    cluster.create_job(&person("jane"), &namespace, &job("late")).unwrap();
    let told = "a place among the agent Jobs of project p, whose limit is 1; held by ";
    cluster.eventually("it is told", || {
        annotation(&cluster.read_job(&namespace, "late"), "job-waits-for").starts_with(told).then_some(())
    });
    assert_eq!(cluster.names("p", works).len(), 2, "nobody was evicted");

    cluster.guard.write_policy(&policy("null")).unwrap();
    let free = cluster.eventually("all go", || Some(cluster.read_job(&namespace, "late")).filter(works));
    assert_eq!((annotation(&free, "job-waits-for"), annotation(&free, "job-placed-at")), ("", ""));
    nothing_is_left(&cluster);
}

/// Neither places nor the mark.
fn nothing_is_left(cluster: &Cluster) {
    let leases = Api::<Lease>::namespaced(cluster.client(&Identity::Admin), "codex-k8s-guard");
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=codex-k8s-guard");
    cluster.eventually("nothing is left of the limit", || {
        cluster.runtime.block_on(leases.list(&ours)).unwrap().items.is_empty().then_some(())
    });
}

#[test]
fn one_that_dies_at_any_step_of_a_start_leaves_it_to_the_next() {
    let cluster = Cluster::with_policy(&limit(1));
    let namespace = cluster.ready("codex-run-faults", "p");
    cluster.guard.reconciler.process.signal("KILL").unwrap();
    for point in ["before-start", "after-start"] {
        cluster.create_job(&person("jane"), &namespace, &job(point)).unwrap();
        let fault = format!("{point}:{namespace}/{point}");
        let kubeconfig = cluster.guard.control_plane.kubeconfig(&Identity::reconciler()).unwrap();
        let died = std::process::Command::new(crate::harness::playground())
            .args(["webhook", "reconcile", "--no-leader-election", "--health-listen=127.0.0.1:0", "--policy"])
            .arg(cluster.guard.file("policy.yaml"))
            .env("KUBECONFIG", kubeconfig)
            .env("CODEX_K8S_FAULT", fault)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&died.stderr);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died.status), Some(6), "{told}");
        let whole = format!("{namespace}/{point}");
        assert_eq!(cluster.job_places(), std::slice::from_ref(&whole), "its place is there before it starts");
        assert_eq!(works(&cluster.read_job(&namespace, point)), point == "after-start");
        let next = one_more(&cluster, &format!("after-{point}"), &[]);
        assert_eq!(cluster.await_count("p", 1, works), std::slice::from_ref(&whole));
        cluster.each_holds_one_place(std::slice::from_ref(&whole));
        cluster.finish(&whole);
        cluster.each_holds_one_place(&[]);
        next.process.signal("KILL").unwrap();
        let ended = || (!next.process.is_running()).then_some(());
        cluster.eventually("it has ended", ended);
    }
}
