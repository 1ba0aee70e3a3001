//! The worker's keepalive at B: it ensures all objects of every running run, again and again.

use std::time::Instant;

use codex_k8s_tests::{Guard, Identity};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Client, at, block_on, namespace, playground, reconciles, runtime, spread};
use crate::worker::{Run, Version, Worker, policy_of_b};

const NAMESPACES: usize = 20;
/// Ten minutes of one every five seconds, without the pauses.
const ROUNDS: usize = 120;

fn ensure_all(worker: &Worker, runs: &[Run]) -> usize {
    let mut all = JoinSet::new();
    for run in runs {
        let (worker, run) = (worker.clone(), run.clone());
        all.spawn_on(async move { worker.prepare(&run).await }, runtime().handle());
    }
    block_on(all.join_all()).into_iter().filter(Result::is_err).count()
}

fn versions(client: &Client<'_>, runs: &[Run]) -> Vec<Value> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces";
    let paths = |run: &Run| {
        let (core, rbac) = (at(&run.namespace), format!("{rbac}/{}", run.namespace));
        [
            format!("{core}/serviceaccounts/codex-runner"),
            format!("{rbac}/roles/codex-runner"),
            format!("{rbac}/rolebindings/codex-runner"),
            format!("{core}/resourcequotas/codex-run-quota"),
        ]
    };
    let version = |path: String| client.get(&path)["metadata"]["resourceVersion"].clone();
    runs.iter().flat_map(paths).map(version).collect()
}

#[test]
fn ten_minutes_of_keepalive_fail_nothing_change_nothing_and_make_us_write_nothing() {
    let guard = Guard::start_with_policy(playground(), &policy_of_b()).unwrap();
    let client = Client::new(&guard, &Identity::platform_control_plane());
    let runs: Vec<_> = (1..=NAMESPACES).map(Run::in_slot).collect();
    for run in &runs {
        client.create("/api/v1/namespaces", &namespace(&run.namespace));
    }
    let worker = block_on(Worker::new(&guard, Version::B));
    assert_eq!(ensure_all(&worker, &runs), 0);
    for run in &runs {
        client.await_gate(&run.namespace);
    }
    let (stored, mut took, mut failed) = (versions(&client, &runs), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        failed += ensure_all(&worker, &runs);
        took.push(begun.elapsed());
    }
    println!(
        "{ROUNDS} rounds of keepalive over {NAMESPACES} namespaces: {failed} failed; a round {}",
        spread(&took)
    );
    assert_eq!(failed, 0);
    assert_eq!(versions(&client, &runs), stored, "nothing stored has changed");
    assert_eq!(reconciles(&guard, "writes_total"), 0, "{}", guard.control_plane.log_tail("reconcile"));
}
