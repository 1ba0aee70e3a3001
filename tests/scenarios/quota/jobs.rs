//! Agent Jobs of one project, many at once, with two reconcilers of which one is killed.

use std::collections::BTreeSet;

use codex_k8s_tests::{Health, Identity, Reconciler};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::task::JoinSet;

use crate::agents::{Most, annotation, has_ended, job, limit, one_more, policy, waits, whole, works};
use crate::harness::{Cluster, person};

const LIMIT: usize = 5;
/// The pending reason of a Job before it is first reconciled.
const PENDING_REASON_AT_CREATION: &str = "a quota reservation among the agent Jobs of its project";

/// Creates Jobs all at once, the same number in each namespace.
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
                assert!(
                    waits(&created)
                        && annotation(&created, "job-pending-reason") == PENDING_REASON_AT_CREATION,
                    "{created:?}"
                );
            });
        }
        creations.join_all().await
    });
}

fn shows(health: Health, metric: &str, value: u64) -> Option<()> {
    (health.metric(&format!("codex_k8s_reconcile_{metric}")).ok() == Some(value)).then_some(())
}

#[test]
fn no_more_agent_jobs_of_a_project_run_at_a_time_than_the_limit_even_if_programs_are_killed() {
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
    cluster.each_holds_one_reservation(&working);
    all_others_say_why(&cluster, &working);
    create_all(&cluster, std::slice::from_ref(&other), LIMIT + 1);
    cluster.await_count("q", LIMIT, works);
    // The killed reconciler may not have recorded Events for its last changes.
    tells(&cluster, &cluster.await_count("q", 1, waits), "QuotaExceeded");

    let begun = std::time::Instant::now();
    let mut working = working;
    for round in [1, 2, 5, 5] {
        working = the_oldest_come_in(&cluster, &working, round);
    }
    println!("13 Jobs came in for 13 that ended, in {} ms", begun.elapsed().as_millis());
    let health = second.health;
    cluster.eventually("the metrics show who waits", || shows(health, "jobs_pending", 23));
    cluster.eventually("the metrics show who works", || {
        shows(health, "quota_reservations{scope=\"agent-jobs\"}", 10)
    });
    // Deleted ones free their reservations like complete ones.
    for namespace in &namespaces {
        cluster.delete(std::slice::from_ref(namespace));
    }
    let of_the_other = cluster.names("q", works);
    cluster.each_holds_one_reservation(&of_the_other);
    most.is("p", LIMIT);
    most.is("q", LIMIT);
}

#[track_caller]
fn all_others_say_why(cluster: &Cluster, working: &[String]) {
    let text =
        "a quota reservation among the agent Jobs of project p, whose limit is 5; held by codex-run-jobs-";
    cluster.eventually("all that wait say why", || {
        let waiting = cluster.jobs("p", waits);
        let says = |job: &Job| annotation(job, "job-pending-reason").starts_with(text);
        (waiting.len() == 35 && waiting.iter().all(says)).then_some(())
    });
    for job in cluster.jobs("p", waits) {
        assert!(annotation(&job, "job-pending-reason").ends_with(" more"), "{job:?}");
        let status = job.status.clone().unwrap_or_default();
        assert!(
            status.start_time.is_none() && !has_ended(&job),
            "the worker takes it for one that runs: {status:?}"
        );
    }
    for job in working {
        let (namespace, name) = job.split_once('/').unwrap();
        let read = cluster.read_job(namespace, name);
        assert!(!annotation(&read, "job-admitted-at").is_empty(), "{read:?}");
        assert_eq!(annotation(&read, "job-pending-reason"), "");
    }
}

/// Completes some working Jobs: as many are admitted, and those are the oldest.
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
    tells(cluster, waiting.get(..count).unwrap(), "QuotaReserved");
    now
}

#[track_caller]
fn tells(cluster: &Cluster, jobs: &[String], reason: &str) {
    for job in jobs {
        cluster.eventually(&format!("an Event {reason} tells of {job}"), || {
            cluster.job_events(job).contains(&reason.to_owned()).then_some(())
        });
    }
}

#[test]
fn a_limit_counts_what_works_already_and_evicts_no_one_and_lets_all_go_when_it_is_taken_away() {
    let cluster = Cluster::with_policy(&policy("null"));
    let namespace = cluster.ready("codex-run-switched", "p");
    for number in 0..3 {
        let created = cluster
            .create_job(&Identity::agent(&namespace), &namespace, &job(&format!("old-{number}")))
            .unwrap();
        assert!(works(&created), "nothing limits it");
    }
    cluster.guard.reconciler.process.signal("KILL").unwrap();
    let reconciler = one_more(&cluster, "reconcile-2", &["--linger=3s"]);

    cluster.guard.write_policy(&limit(2)).unwrap();
    let old = cluster.names("p", |_| true);
    cluster.each_holds_one_reservation(&old);
    cluster.await_limit(&namespace);
    let created = cluster.create_job(&person("jane"), &namespace, &job("new")).unwrap();
    let (waiting, (last, ends)) = (whole(&created), old.split_last().unwrap());
    for job in ends {
        cluster.finish(job);
    }
    cluster.eventually("the one that waits comes in", || {
        cluster.names("p", works).contains(&waiting).then_some(())
    });
    cluster.each_holds_one_reservation(&[last.clone(), waiting.clone()]);

    cluster.guard.write_policy(&limit(1)).unwrap();
    let lowered = || shows(reconciler.health, "quota_limit{scope=\"agent-jobs\"}", 1);
    cluster.eventually("the lower limit is in force", lowered);
    cluster.create_job(&person("jane"), &namespace, &job("late")).unwrap();
    let told = "a quota reservation among the agent Jobs of project p, whose limit is 1; held by ";
    cluster.eventually("it is told", || {
        annotation(&cluster.read_job(&namespace, "late"), "job-pending-reason")
            .starts_with(told)
            .then_some(())
    });
    assert_eq!(cluster.names("p", works).len(), 2, "nobody was evicted");

    cluster.guard.write_policy(&policy("null")).unwrap();
    let free = cluster.eventually("all go", || Some(cluster.read_job(&namespace, "late")).filter(works));
    assert_eq!((annotation(&free, "job-pending-reason"), annotation(&free, "job-admitted-at")), ("", ""));
    nothing_is_left(&cluster);
    taken_away_while_no_one_looks(&cluster, &namespace, &reconciler);
}

/// The next reconciler still releases pending Jobs after the limit was removed.
fn taken_away_while_no_one_looks(cluster: &Cluster, namespace: &str, reconciler: &Reconciler) {
    cluster.guard.write_policy(&limit(0)).unwrap();
    cluster.await_limit(namespace);
    cluster.create_job(&person("jane"), namespace, &job("last")).unwrap();
    cluster.eventually("it is told that there is no reservation at all", || {
        annotation(&cluster.read_job(namespace, "last"), "job-pending-reason")
            .contains("limit is 0")
            .then_some(())
    });
    reconciler.process.signal("KILL").unwrap();
    cluster.guard.write_policy(&policy("null")).unwrap();
    one_more(cluster, "reconcile-3", &["--linger=0s"]);
    cluster.eventually("it goes", || works(&cluster.read_job(namespace, "last")).then_some(()));
    nothing_is_left(cluster);
}

/// Asserts that neither reservations nor the mark are left.
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
            .args(["guard", "reconcile", "--no-leader-election", "--health-listen=127.0.0.1:0", "--policy"])
            .arg(cluster.guard.file("policy.yaml"))
            .env("KUBECONFIG", kubeconfig)
            .env("CODEX_K8S_FAULT", fault)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&died.stderr);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died.status), Some(6), "{told}");
        let whole = format!("{namespace}/{point}");
        assert_eq!(
            cluster.job_reservations(),
            std::slice::from_ref(&whole),
            "its reservation is there before it starts"
        );
        assert_eq!(works(&cluster.read_job(&namespace, point)), point == "after-start");
        let next = one_more(&cluster, &format!("after-{point}"), &[]);
        assert_eq!(cluster.await_count("p", 1, works), std::slice::from_ref(&whole));
        cluster.each_holds_one_reservation(std::slice::from_ref(&whole));
        cluster.finish(&whole);
        cluster.each_holds_one_reservation(&[]);
        next.process.signal("KILL").unwrap();
        let ended = || (!next.process.is_running()).then_some(());
        cluster.eventually("it has ended", ended);
    }
}
