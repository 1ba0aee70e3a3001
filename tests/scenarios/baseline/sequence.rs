//! The worker's sequence for a run, with the Job right after it: it is admitted, and the quota counts the Job's Pod.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Client, TIMEOUT, at, block_on, guard, playground, runtime, spread};
use crate::worker::{Run, Version, Worker, policy_of_b};

const EACH: usize = 100;

/// The cluster under the policy of B.
pub(crate) fn guard_of_b() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), &policy_of_b()).unwrap())
}

/// The result of a run's start.
#[derive(Debug)]
struct Started {
    run: Run,
    /// The worker's total time until its Job exists, including the sleeps between retries.
    took: Duration,
    retries: u32,
    failed: Option<String>,
}

/// Starts a run; at B a slot is created bare, and labelled later.
async fn start(worker: Worker, bare: Option<codex_k8s_tests::Caller>, run: Run) -> Started {
    if let Some(caller) = bare {
        let object = crate::harness::namespace(&run.namespace);
        caller.send(http::Method::POST, "/api/v1/namespaces", &object).await.unwrap().object().unwrap();
    }
    let begun = Instant::now();
    let prepared = worker.prepare(&run).await;
    let started = match prepared {
        Ok(()) => worker.start(&run).await.and_then(|answer| answer.clone().object().map(|_| answer.retries)),
        Err(error) => Err(error),
    };
    let took = begun.elapsed();
    let (retries, failed) = match started {
        Ok(retries) => (retries, None),
        Err(error) => (0, Some(format!("{error:#}"))),
    };
    Started { run, took, retries, failed }
}

fn control_plane_of(guard: &Guard, version: Version) -> Option<codex_k8s_tests::Caller> {
    let identity = Identity::platform_control_plane();
    (version == Version::B)
        .then(|| block_on(codex_k8s_tests::Caller::new(&guard.control_plane, &identity)).unwrap())
}

fn runs(version: Version, first: usize, count: usize) -> Vec<Run> {
    let run = if version == Version::A { Run::of_issue } else { Run::in_slot };
    (first..first + count).map(run).collect()
}

fn paced(guard: &Guard, version: Version, first: usize, count: usize) -> Vec<Started> {
    let (worker, bare) = (block_on(Worker::new(guard, version)), control_plane_of(guard, version));
    runs(version, first, count)
        .into_iter()
        .map(|run| block_on(start(worker.clone(), bare.clone(), run)))
        .collect()
}

fn burst(guard: &Guard, version: Version, first: usize, count: usize) -> Vec<Started> {
    let (worker, bare) = (block_on(Worker::new(guard, version)), control_plane_of(guard, version));
    let mut all = JoinSet::new();
    for run in runs(version, first, count) {
        all.spawn_on(start(worker.clone(), bare.clone(), run), runtime().handle());
    }
    block_on(all.join_all())
}

/// The namespaces in which the API server itself counted a Pod when it admitted it. The quota controller counts later,
/// which says nothing about what was admitted.
fn counted_at_admission(guard: &Guard) -> BTreeSet<String> {
    let counts = |event: &Value| {
        event["user"]["username"] == "system:apiserver"
            && event["objectRef"]["resource"] == "resourcequotas"
            && event["objectRef"]["subresource"] == "status"
            && event["responseStatus"]["code"] == 200
    };
    let events = guard.control_plane.audit_events();
    let counted = events.iter().filter(|event| counts(event));
    counted.filter_map(|event| event["objectRef"]["namespace"].as_str().map(str::to_owned)).collect()
}

fn has_pod(client: &Client<'_>, namespace: &str) -> bool {
    !client.get(&format!("{}/pods", at(namespace)))["items"].as_array().unwrap().is_empty()
}

/// Waits until every Job has its Pod, and returns the number of namespaces in which it was counted.
fn counted(guard: &Guard, started: &[Started]) -> usize {
    let admin = Client::new(guard, &Identity::Admin);
    for Started { run, .. } in started {
        eventually(&format!("the Job of {} has a Pod", run.namespace), TIMEOUT, || {
            has_pod(&admin, &run.namespace).then_some(())
        })
        .unwrap();
    }
    // The log is written a moment after the answer.
    let all = || counted_at_admission(guard);
    let is_counted = |all: &BTreeSet<String>| {
        started.iter().filter(|started| all.contains(&started.run.namespace)).count()
    };
    let _ = eventually("all are counted", Duration::from_secs(2), || {
        (is_counted(&all()) == started.len()).then_some(())
    });
    is_counted(&all())
}

fn evaluate(what: &str, guard: &Guard, started: &[Started]) {
    let failed: Vec<_> = started
        .iter()
        .filter_map(|started| started.failed.as_deref().map(|why| (&started.run.namespace, why)))
        .collect();
    let times: Vec<_> = started.iter().map(|started| started.took).collect();
    let retries: u32 = started.iter().map(|started| started.retries).sum();
    let most = started.iter().map(|started| started.retries).max().unwrap_or_default();
    println!(
        "{what}: {} runs, {} failed; {}; {retries} retries, at most {most} of one run",
        started.len(),
        failed.len(),
        spread(&times)
    );
    assert!(
        failed.is_empty(),
        "{} failed; first {:?}\n{}",
        failed.len(),
        failed.first(),
        guard.control_plane.log_tail("reconcile")
    );
    let counted = counted(guard, started);
    println!("{what}: the quota counted the Pod at its admission in {counted} of {}", started.len());
    let admin = Client::new(guard, &Identity::Admin);
    for Started { run, .. } in started {
        let quota = admin.get(&format!("{}/resourcequotas/codex-run-quota", at(&run.namespace)));
        assert_eq!(quota["status"]["used"]["pods"], "1", "{}: {}", run.namespace, quota["status"]);
    }
    assert_eq!(counted, started.len());
}

#[test]
fn the_workers_runs_at_a_pass_and_are_counted() {
    evaluate("A, one after the other", guard(), &paced(guard(), Version::A, 1000, EACH));
    evaluate("A, all at once", guard(), &burst(guard(), Version::A, 2000, EACH));
}

#[test]
fn the_workers_runs_in_slots_at_b_pass_and_are_counted() {
    let guard = guard_of_b();
    evaluate("B, one after the other", guard, &paced(guard, Version::B, 1000, EACH));
    evaluate("B, all at once", guard, &burst(guard, Version::B, 2000, EACH));
}

/// Without the reconciler, the quotas are the worker's own, and as young as can be when bare Pods come, as the
/// platform's discussions are. A Job's Pod is created later, by its controller, and escapes less often.
#[test]
fn without_the_gate_some_of_a_burst_escape_their_quotas() {
    let guard = Guard::start_with_policy(playground(), "rules: {GATE001: \"off\"}\n").unwrap();
    guard.reconciler.process.signal("KILL").unwrap();
    let worker = block_on(Worker::new(&guard, Version::A));
    let runs = runs(Version::A, 3000, EACH);
    let all_at_once = |quota: bool| {
        let mut all = JoinSet::new();
        for run in &runs {
            let (worker, run) = (worker.clone(), run.clone());
            let work = async move {
                if quota {
                    worker.limit_and_start(&run).await
                } else {
                    worker.prepare_without_quota(&run).await
                }
            };
            all.spawn_on(work, runtime().handle());
        }
        block_on(all.join_all()).into_iter().collect::<anyhow::Result<()>>().unwrap();
    };
    all_at_once(false);
    all_at_once(true);
    let started =
        runs.iter().cloned().map(|run| Started { run, took: Duration::ZERO, retries: 0, failed: None });
    let escaped = EACH - counted(&guard, &started.collect::<Vec<_>>());
    println!("without the gate, {escaped} of {EACH} Pods escaped their quota");
    assert!(escaped > 0, "{escaped} of {EACH}");
}
