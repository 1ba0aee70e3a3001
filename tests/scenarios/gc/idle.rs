//! Workloads that never run: they keep their namespace within `cleanup.workGrace`, and not after it.

use http::Method;
use serde_json::{Value, json};

use codex_k8s_shared::audit::EventType;

use crate::breaker::last_sweep;
use crate::harness::{Cluster, Ns, soon, unique};

/// A shorter grace than the hour for which the leases have been over.
const OVER: &str = "cleanup: {workGrace: 10m}\n";
const ACTIVE: (&str, &str) = ("retain", "active_workloads_present");

fn pod_spec(more: &Value) -> Value {
    let mut spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "busybox:1.36"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({"kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

fn template(more: &Value) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": pod_spec(more)})
}

fn deployment(paused: bool, more: &Value) -> Value {
    let mut template = template(more);
    template["spec"]["restartPolicy"] = "Always".into();
    let selector = json!({"matchLabels": {"app": "a"}});
    object("Deployment", &json!({"paused": paused, "selector": selector, "template": template}))
}

/// Creates a namespace whose lease ended an hour ago, with an object in it.
#[track_caller]
fn namespace(cluster: &Cluster, path: &str, object: &Value) -> String {
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    put(cluster, &name, path, object);
    name
}

#[track_caller]
fn put(cluster: &Cluster, name: &str, path: &str, object: &Value) -> Value {
    // Pods are refused until the namespace has its ServiceAccount.
    soon(&format!("{path} of {name} is created"), || {
        let answer = cluster.send(Method::POST, &path.replace("{}", name), object);
        (answer.code != 403).then(|| answer.object().unwrap())
    })
}

const PODS: &str = "/api/v1/namespaces/{}/pods";
const JOBS: &str = "/apis/batch/v1/namespaces/{}/jobs";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/{}/cronjobs";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/{}/deployments";

/// Writes the status of a running Pod, as a kubelet does.
fn run(cluster: &Cluster, namespace: &str, pod: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
    let status = json!({"status": {"phase": "Running"}});
    cluster.send(Method::PATCH, &path, &status).object().unwrap();
}

fn node(cluster: &Cluster) -> String {
    let name = unique("node");
    cluster.create("/api/v1/nodes", &json!({"kind": "Node", "metadata": {"name": name}}));
    name
}

/// Returns true if its rows end with its deletion, and the namespace does not exist any more.
#[track_caller]
fn is_gone(cluster: &Cluster, name: &str) {
    assert_eq!(cluster.read(name), None, "{name}");
    let last = cluster.rows(name).pop().unwrap();
    assert_eq!(last, (EventType::Cleaned, "ttl_expired".to_owned()), "{name}");
}

/// Asserts that it is retained within the grace, and deleted after it.
#[track_caller]
fn goes_after_the_grace(path: &str, object: &Value) {
    let cluster = Cluster::new();
    let name = namespace(&cluster, path, object);
    let swept = cluster.sweep(&["--allow-mass-deletion=1000"]);
    assert_eq!((swept.code, swept.verdict(&name)), (0, ACTIVE), "{}", swept.told);
    assert!(cluster.lives(&name), "a day has not passed since its lease ended");
    let swept = cluster.sweep(&[&cluster.policy(OVER), "--allow-mass-deletion=1000"]);
    assert_eq!((swept.code, swept.outcome(&name)), (0, "deleted"), "{swept:?}");
    is_gone(&cluster, &name);
}

#[test]
fn a_suspended_job_keeps_its_namespace_no_longer_than_its_grace() {
    goes_after_the_grace(JOBS, &object("Job", &json!({"suspend": true, "template": template(&json!({}))})));
}

#[test]
fn a_cron_job_for_the_31st_of_february_keeps_its_namespace_no_longer_than_its_grace() {
    let job = json!({"spec": {"template": template(&json!({}))}});
    let spec = json!({"schedule": "0 0 31 2 *", "jobTemplate": job});
    goes_after_the_grace(CRON_JOBS, &object("CronJob", &spec));
}

#[test]
fn a_pod_that_no_node_takes_keeps_its_namespace_no_longer_than_its_grace() {
    goes_after_the_grace(PODS, &object("Pod", &pod_spec(&json!({"nodeSelector": {"no": "node"}}))));
}

#[test]
fn a_paused_deployment_keeps_its_namespace_no_longer_than_its_grace() {
    goes_after_the_grace(DEPLOYMENTS, &deployment(true, &json!({})));
}

#[test]
fn a_deployment_whose_pods_never_schedule_keeps_its_namespace_no_longer_than_its_grace() {
    goes_after_the_grace(DEPLOYMENTS, &deployment(false, &json!({"nodeSelector": {"no": "node"}})));
}

#[test]
fn a_job_whose_node_is_lost_keeps_its_namespace_no_longer_than_its_grace() {
    let cluster = Cluster::new();
    let spec = template(&json!({"nodeName": node(&cluster)}));
    let spec = json!({"activeDeadlineSeconds": 3, "backoffLimit": 0, "template": spec});
    let name = namespace(&cluster, JOBS, &object("Job", &spec));
    let pods = || cluster.send(Method::GET, &PODS.replace("{}", &name), &Value::Null).object().unwrap();
    let pod = soon("its Pod is there", || pods()["items"][0]["metadata"]["name"].as_str().map(str::to_owned));
    run(&cluster, &name, &pod);
    // There is no kubelet to end the Pod, and the Job waits for that.
    let job = JOBS.replace("{}", &name) + "/a";
    let conditions = || cluster.send(Method::GET, &job, &Value::Null).body.to_string();
    soon("the Job has failed but not ended", || conditions().contains("FailureTarget").then_some(()));
    soon("its Pod should be gone", || {
        let due = pods()["items"][0]["metadata"]["deletionTimestamp"].as_str()?.parse().ok()?;
        (jiff::Timestamp::now() > due).then_some(())
    });
    let swept = cluster.sweep(&["--allow-mass-deletion=1000"]);
    assert_eq!((swept.code, swept.verdict(&name)), (0, ACTIVE), "{}", swept.told);
    // The namespace waits for the Pod as well; the report names the blocker until an operator deletes the Pod.
    let policy = cluster.policy("cleanup: {workGrace: 10m, waitForGone: 5s}\n");
    let args = [&*policy, "--allow-mass-deletion=1000"];
    soon("a sweep reports that the Pod blocks the namespace", || {
        let swept = cluster.sweep(&args);
        assert_eq!((swept.code, swept.outcome(&name)), (1, "terminating"), "{swept:?}");
        // The namespace controller writes its conditions after a first attempt.
        swept.line(&name)?["outcome"]["blockers"].to_string().contains("pods").then_some(())
    });
    let force = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    cluster.send(Method::DELETE, &format!("{}/{pod}", PODS.replace("{}", &name)), &force).object().unwrap();
    soon("the namespace is gone", || cluster.read(&name).is_none().then_some(()));
    cluster.sweep(&args);
    is_gone(&cluster, &name);
}

#[test]
fn a_pod_that_runs_keeps_its_namespace_and_is_reported_with_its_reason() {
    let cluster = Cluster::new();
    let spec = pod_spec(&json!({"nodeName": node(&cluster)}));
    let name = namespace(&cluster, PODS, &object("Pod", &spec));
    run(&cluster, &name, "a");
    put(
        &cluster,
        &name,
        CRON_JOBS,
        &object(
            "CronJob",
            &json!({"schedule": "0 0 31 2 *", "jobTemplate": {"spec": {"template": template(&json!({}))}}}),
        ),
    );
    let swept = cluster.sweep(&[&cluster.policy(OVER), "--allow-mass-deletion=1000"]);
    assert_eq!((swept.code, swept.verdict(&name)), (0, ACTIVE), "{}", swept.told);
    let line = swept.line(&name).unwrap();
    assert_eq!(
        (&line["isOverdue"], &line["message"]),
        (&json!(true), &json!("something works in it: pods=a"))
    );
    assert!(cluster.lives(&name));
    assert_eq!(last_sweep(&cluster)["overdue"]["active_workloads_present"], 1);
    let metrics = cluster.daemon();
    soon("the daemon exports it", || {
        let text = metrics.health.get("/metrics").ok()?;
        text.contains("codex_k8s_gc_overdue_namespaces{reason=\"active_workloads_present\"} 1").then_some(())
    });
    drop(metrics);
    cluster
        .send(
            Method::PATCH,
            &format!("/api/v1/namespaces/{name}/pods/a/status"),
            &json!({"status": {"phase": "Succeeded"}}),
        )
        .object()
        .unwrap();
    let swept = cluster.sweep(&[&cluster.policy(OVER), "--allow-mass-deletion=1000"]);
    assert_eq!(swept.outcome(&name), "deleted", "{swept:?}");
    is_gone(&cluster, &name);
}
