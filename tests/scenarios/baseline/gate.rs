//! The gate: requests that wait at it, requests that do not, and the effect of its absence.

use std::time::{Duration, Instant};

use codex_k8s_tests::{Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, TIMEOUT, at, baseline, guard, job, jobs, namespace, unique};
use crate::worker::{Run, Version};

/// A run namespace whose gate is closed, because an object of another manager conflicts with its baseline.
struct Closed {
    client: Client<'static>,
    name: String,
    /// The baseline object that the reconciler does not own any more.
    foreign: String,
}

impl Closed {
    fn new() -> Self {
        let client = Client::new(guard(), &Identity::reconciler());
        let name = client.ready_namespace();
        let [.., (_, foreign)] = baseline(&name);
        Self { client, name, foreign }
    }

    /// A slot, labelled by the worker.
    fn slot(number: usize) -> Self {
        let (client, run) = (Client::new(guard(), &Identity::reconciler()), Run::in_slot(number));
        let platform = Client::new(guard(), &Identity::platform_control_plane());
        platform.create("/api/v1/namespaces", &namespace(&run.namespace));
        let worker = Client::new(guard(), &Identity::worker());
        worker.patch(&at(&run.namespace), &json!({"metadata": run.namespace(Version::B)["metadata"]}));
        client.await_gate(&run.namespace);
        let [.., (_, foreign), _] = baseline(&run.namespace);
        Self { client, name: run.namespace, foreign }
    }

    fn close(&self) {
        let path = &self.foreign;
        let foreign = json!({"metadata": {"labels": null, "managedFields": [{}]}});
        self.client.patch(path, &foreign);
        let closed = || (!self.client.is_open(&self.name)).then_some(());
        eventually("the gate is closed", TIMEOUT, closed).unwrap();
        // The webhook's watch receives it a moment later.
        let developer = Client::new(guard(), &Identity::developer());
        let dry = format!("{}?dryRun=All", jobs(&self.name));
        let warned = || (developer.warnings(&dry, &job("probe")).contains("GATE001")).then_some(());
        eventually("the webhook knows", TIMEOUT, warned).unwrap();
    }

    fn open(&self) {
        self.client.delete(&self.foreign);
        self.client.await_gate(&self.name);
    }
}

fn pods(client: &Client<'_>, namespace: &str) -> usize {
    client.get(&format!("{}/pods", at(namespace)))["items"].as_array().unwrap().len()
}

#[test]
fn a_closed_gate_delays_no_job_of_another_namespace() {
    const DENIED: usize = 8;
    let closed = Closed::new();
    let (client, name) = (&closed.client, &closed.name);
    let suspended = |number: usize| {
        let mut job = job(&format!("j{number}"));
        job["spec"]["suspend"] = true.into();
        job
    };
    for number in 0..DENIED {
        client.create(&jobs(name), &suspended(number));
    }
    closed.close();
    for number in 0..DENIED {
        client.patch(&format!("{}/j{number}", jobs(name)), &json!({"spec": {"suspend": false}}));
    }
    let refused =
        |event: &Value| event["reason"] == "FailedCreate" && event["message"].to_string().contains("GATE001");
    eventually("Pods are refused", TIMEOUT, || {
        let events = client.get(&format!("{}/events", at(name)));
        events["items"].as_array().unwrap().iter().any(refused).then_some(())
    })
    .unwrap();
    let other = client.ready_namespace();
    client.create(&jobs(&other), &job("unhindered"));
    let begun = Instant::now();
    eventually("the other Job has its Pod", TIMEOUT, || (pods(client, &other) == 1).then_some(())).unwrap();
    let took = begun.elapsed();
    println!(
        "beside {DENIED} Jobs at a closed gate, another namespace's Job had its Pod after {} ms",
        took.as_millis()
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(pods(client, name), 0);
    closed.open();
    eventually("all have their Pods", TIMEOUT, || (pods(client, name) == DENIED).then_some(())).unwrap();
}

/// Pods that a controller creates before the quota of the slot counts would escape it for good.
#[test]
fn in_a_slot_too_controllers_make_no_pods_while_the_gate_is_closed() {
    let closed = Closed::slot(9001);
    let (client, name) = (&closed.client, &closed.name);
    let agent = Client::new(guard(), &Identity::agent(name));
    closed.close();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": {
        "replicas": 24, "selector": {"matchLabels": {"app": "many"}}, "template": {"metadata": {"labels": {"app": "many"}},
            "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    agent.create(&format!("/apis/apps/v1/namespaces/{name}/deployments"), &deployment);
    eventually("Pods are refused", TIMEOUT, || {
        let events = client.get(&format!("{}/events", at(name)));
        let refused = |event: &Value| event["message"].to_string().contains("GATE001");
        events["items"].as_array().unwrap().iter().any(refused).then_some(())
    })
    .unwrap();
    assert_eq!(pods(client, name), 0);
    closed.open();
    eventually("as many Pods as the quota has", TIMEOUT, || (pods(client, name) == 20).then_some(()))
        .unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "extra"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    let extra = agent.send(Method::POST, &format!("{}/pods", at(name)), &pod);
    assert!(extra.code == 403 && extra.message().contains("exceeded quota"), "{extra:?}");
    assert_eq!(pods(client, name), 20);
}

#[test]
fn a_person_is_reported_when_to_try_again_and_a_controller_is_not() {
    let closed = Closed::new();
    closed.close();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    let path = format!("{}/pods", at(&closed.name));
    let waits_for = "LimitRange codex-run-limits is owned by another manager";
    let ask = |identity: &Identity| Client::new(guard(), identity).send(Method::POST, &path, &pod);
    for (identity, retry) in [
        (Identity::developer(), Some(1)),
        (Identity::agent(&closed.name), Some(1)),
        (Identity::service_account("kube-system", "job-controller"), None),
        (Identity::service_account("kube-system", "replicaset-controller"), None),
    ] {
        let answer = ask(&identity);
        let told = &answer.body["details"]["retryAfterSeconds"];
        assert_eq!((answer.code, answer.retry_after), (429, retry), "{identity:?}: {answer:?}");
        assert_eq!(told.as_u64(), retry, "{identity:?}: {answer:?}");
        let cause = &answer.body["details"]["causes"][0];
        assert_eq!(cause["reason"], "GATE001", "{answer:?}");
        assert!(
            cause["field"].as_str().unwrap().ends_with("[\"codex-k8s.dev/baseline-ready-at\"]"),
            "{answer:?}"
        );
        assert!(answer.message().contains(waits_for), "{answer:?}");
    }
}

#[test]
fn a_server_dry_run_is_reported_why_it_would_wait_does_not_wait_and_leaves_nothing() {
    let closed = Closed::new();
    closed.close();
    let developer = Client::new(guard(), &Identity::developer());
    let events = || developer.get(&format!("{}/events", at(&closed.name)))["items"].as_array().unwrap().len();
    let (path, before) = (jobs(&closed.name), events());
    // The gate stays closed: a request that waits at it is refused in the end, as the real one is below.
    let begun = Instant::now();
    let rehearsed = developer.send(Method::POST, &format!("{path}?dryRun=All"), &job("dry"));
    let took = begun.elapsed();
    println!("a server dry run at a closed gate took {} ms", took.as_millis());
    assert!(rehearsed.is_ok() && took < Duration::from_secs(1), "{took:?} {rehearsed:?}");
    assert!(developer.find(&format!("{path}/dry")).is_none());
    assert_eq!(events(), before);
    let real = developer.send(Method::POST, &path, &job("dry"));
    assert_eq!(real.code, 429, "{real:?}");
    let (_, told) = real.message().split_once("denied the request: ").unwrap();
    let (told, _) = told.rsplit_once(" (see http").unwrap();
    let warned = rehearsed.warnings.join("\n").replace("\\\"", "\"");
    assert!(told.starts_with("GATE001: ") && warned.contains(told), "{told}\n{warned}");
}

#[test]
fn kubectl_waits_at_the_gate_by_itself() {
    let kubectl = guard().kubectl(&Identity::developer()).unwrap();
    let name = format!("codex-issue-{}", unique());
    assert!(kubectl.run(&["create", "namespace", &name]).unwrap().succeeded());
    let ran = kubectl.run(&["create", "job", "first", "--image=busybox:1.36", "-n", &name]).unwrap();
    assert!(ran.succeeded(), "{ran}");
    let admin = Client::new(guard(), &Identity::Admin);
    eventually("the Pod is counted", TIMEOUT, || {
        let quota = admin.get(&baseline(&name)[3].1);
        (quota["status"]["used"]["pods"] == "1").then_some(())
    })
    .unwrap();
}
