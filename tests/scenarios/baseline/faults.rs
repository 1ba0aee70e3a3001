//! A reconciler that dies at any of its steps, and the recovery by the next one.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, TIMEOUT, at, baseline, job, jobs, namespace, playground, unique};

/// A cluster whose reconciler has ended: these tests run their own, one after the other.
struct ByHand {
    guard: &'static Guard,
    _turn: MutexGuard<'static, ()>,
}

impl ByHand {
    fn new() -> Self {
        static SHARED: OnceLock<Guard> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = SHARED.get_or_init(|| {
            let guard = Guard::start(playground()).unwrap();
            let ready = Client::new(&guard, &Identity::developer()).ready_namespace();
            assert!(ready.starts_with("codex-issue-"));
            guard.reconciler.process.signal("TERM").unwrap();
            let ended = || (!guard.reconciler.process.is_running()).then_some(());
            eventually("the reconciler has ended", Duration::from_secs(10), ended).unwrap();
            guard
        });
        Self { guard, _turn: turn }
    }

    fn client(&self) -> Client<'_> {
        Client::new(self.guard, &Identity::reconciler())
    }

    fn reconcile(&self, args: &[&str], fault: Option<&str>) -> Output {
        let kubeconfig = self.guard.control_plane.kubeconfig(&Identity::reconciler()).unwrap();
        Command::new(playground())
            .args(["guard", "reconcile"])
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .envs(fault.map(|fault| ("CODEX_K8S_FAULT", fault)))
            .output()
            .unwrap()
    }

    /// Runs a reconciler until it dies at the given point.
    #[track_caller]
    fn die(&self, point: &str, name: &str) {
        let args = ["--no-leader-election", "--health-listen=127.0.0.1:0"];
        let died = self.reconcile(&args, Some(&format!("{point}:{name}")));
        assert_eq!(died.status.signal(), Some(6), "{point}: {}", String::from_utf8_lossy(&died.stderr));
    }

    #[track_caller]
    fn once(&self) -> String {
        let ran = self.reconcile(&["--once"], None);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }
}

fn is_complete(client: &Client<'_>, name: &str) -> bool {
    baseline(name).iter().all(|(_, path)| client.find(path).is_some())
}

#[track_caller]
fn one_of_each(client: &Client<'_>, name: &str) {
    for (kind, path) in baseline(name) {
        let collection = path.rsplit_once('/').unwrap().0;
        let labelled = format!("{collection}?labelSelector=codex-k8s.dev/managed-by");
        assert_eq!(client.get(&labelled)["items"].as_array().unwrap().len(), 1, "{kind}");
    }
    assert!(client.is_open(name));
}

#[test]
fn dying_at_any_step_of_a_new_namespace_leaves_its_gate_right_and_the_next_one_ends_the_work() {
    let cluster = ByHand::new();
    let client = cluster.client();
    let kinds = ["ServiceAccount", "Role", "RoleBinding", "ResourceQuota", "LimitRange"];
    let sides = ["before-apply", "after-apply"];
    let points = kinds.iter().flat_map(|kind| sides.map(|side| format!("{side}-{kind}")));
    for point in points.chain(["before-open", "after-open"].map(str::to_owned)) {
        let name = Client::new(cluster.guard, &Identity::developer()).namespace();
        cluster.die(&point, &name);
        let open = client.is_open(&name);
        assert_eq!(open, point == "after-open", "{point}");
        assert!(!open || is_complete(&client, &name), "{point}");
        cluster.once();
        one_of_each(&client, &name);
    }
}

#[test]
fn dying_while_drift_is_repaired_never_leaves_the_gate_open_over_it() {
    let cluster = ByHand::new();
    let client = cluster.client();
    for point in ["before-close", "after-close", "before-apply-Role", "after-apply-Role", "before-open"] {
        let name = client.namespace();
        cluster.once();
        client.patch(&baseline(&name)[1].1, &json!({"rules": []}));
        cluster.die(point, &name);
        assert_eq!(client.is_open(&name), point == "before-close", "{point}");
        cluster.once();
        one_of_each(&client, &name);
        assert_ne!(client.get(&baseline(&name)[1].1)["rules"], json!([]), "{point}");
    }
}

#[test]
fn dying_between_the_two_halves_of_a_replacement_leaves_the_gate_closed() {
    let cluster = ByHand::new();
    let client = cluster.client();
    let name = client.namespace();
    cluster.once();
    let path = &baseline(&name)[2].1;
    let mut other = client.get(path);
    other["metadata"] = json!({"name": "codex-runner", "labels": other["metadata"]["labels"]});
    other["roleRef"]["name"] = "another".into();
    client.delete(path);
    client.create(path.trim_end_matches("/codex-runner"), &other);
    cluster.die("after-delete-RoleBinding", &name);
    assert!(!client.is_open(&name) && client.find(path).is_none());
    cluster.once();
    one_of_each(&client, &name);
    assert_eq!(client.get(path)["roleRef"]["name"], "codex-runner");
}

#[test]
fn without_a_reconciler_old_namespaces_work_on_and_new_ones_are_reported_to_wait() {
    let cluster = ByHand::new();
    let developer = Client::new(cluster.guard, &Identity::developer());
    let old = developer.namespace();
    cluster.once();
    developer.create(&jobs(&old), &job("goes-on"));
    let has_pod = || {
        let pods = developer.get(&format!("{}/pods", at(&old)));
        (pods["items"].as_array().unwrap().len() == 1).then_some(())
    };
    eventually("the Job has its Pod", TIMEOUT, has_pod).unwrap();
    let new = developer.namespace();
    let refused = developer.send(Method::POST, &jobs(&new), &job("waits"));
    assert_eq!((refused.code, refused.retry_after), (429, Some(1)), "{refused:?}");
    let field = refused.body["details"]["causes"][0]["field"].as_str().unwrap();
    assert!(refused.message().contains("GATE001") && field.ends_with("baseline-ready-at\"]"), "{refused:?}");
    assert!(developer.find(&format!("{}/waits", jobs(&new))).is_none());
    cluster.once();
    developer.create(&jobs(&new), &job("waits"));
}

/// The writes of all reconcilers so far.
fn writes(guard: &Guard) -> usize {
    let ours =
        |event: &&Value| event["impersonatedUser"]["username"].to_string().contains("codex-k8s-reconcile");
    guard.control_plane.audit_events().iter().filter(ours).count()
}

#[test]
fn a_dry_run_reports_what_would_be_done_and_does_nothing() {
    let cluster = ByHand::new();
    let client = cluster.client();
    let (new, drifted) = (client.namespace(), client.namespace());
    let unmanaged = format!("payments-{}", unique());
    client.create("/api/v1/namespaces", &namespace(&unmanaged));
    cluster.once();
    client.delete(&baseline(&new)[4].1);
    client.patch(&baseline(&drifted)[3].1, &json!({"spec": {"hard": {"pods": "999"}}}));
    let before = [&new, &drifted].map(|name| client.get(&at(name))["metadata"]["resourceVersion"].clone());
    let ran = cluster.reconcile(&["--dry-run"], None);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for line in [
        format!("{new}: would create LimitRange codex-run-limits\n{new}: would then be ready\n"),
        format!(
            "{drifted}: would repair ResourceQuota codex-run-quota\n  spec.hard.pods\n  - \"999\"\n  + \"20\"\n"
        ),
    ] {
        assert!(told.contains(&line), "no {line:?} in\n{told}");
    }
    assert!(!told.contains(&unmanaged), "{told}");
    let after = [&new, &drifted].map(|name| client.get(&at(name))["metadata"]["resourceVersion"].clone());
    assert_eq!(before, after);
    assert!(client.find(&baseline(&new)[4].1).is_none());
    assert_eq!(client.get(&baseline(&drifted)[3].1)["spec"]["hard"]["pods"], "999");
    let told = cluster.once();
    assert!(told.contains(&format!("{new}: create LimitRange codex-run-limits\n{new}: ready\n")), "{told}");
    let done = writes(cluster.guard);
    let told = cluster.once();
    assert!(!told.contains("create") && !told.contains("repair"), "{told}");
    assert_eq!(writes(cluster.guard), done, "with nothing to do, nothing is written");
}

#[test]
fn once_ends_with_an_error_while_a_namespace_is_not_ready() {
    let cluster = ByHand::new();
    let client = cluster.client();
    let name = client.namespace();
    cluster.once();
    let path = &baseline(&name)[1].1;
    client.patch(path, &json!({"metadata": {"labels": null, "managedFields": [{}]}}));
    let ran = cluster.reconcile(&["--once"], None);
    let (told, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(1), "{told}{error}");
    assert!(
        told.contains(&format!("{name}: waits: Role codex-runner is owned by another manager")),
        "{told}"
    );
    assert!(error.contains("error: 1 of ") && error.contains("namespaces are not ready"), "{error}");
    client.delete(path);
    cluster.once();
    one_of_each(&client, &name);
}
