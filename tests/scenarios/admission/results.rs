//! The results of runs: the platform takes them from the status of a Job, and finds Jobs and Pods by their labels.

use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

#[track_caller]
fn read(path: &str) -> Value {
    let send = Send { identity: &Identity::Admin, method: "GET", path: path.to_owned(), content_type: JSON };
    send.body(&Value::Null).admitted()
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

/// A status of a successful Job, as the API server accepts it.
fn success(job: &Value) -> Value {
    let now = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
    json!({"status": {"startTime": job["status"]["startTime"], "completionTime": now, "succeeded": 1, "active": 0, "ready": 0, "terminating": 0,
        "uncountedTerminatedPods": {}, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}})
}

#[test]
fn a_run_does_not_report_its_own_success_through_the_status_of_its_job() {
    let namespace = managed();
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    let (name, jobs) =
        (format!("codex-k8s-run-{run_id}"), format!("/apis/batch/v1/namespaces/{namespace}/jobs"));
    create(&Identity::worker(), &jobs, &job(&name)).admitted();
    let path = format!("{jobs}/{name}");
    eventually("the Job controller has begun", Duration::from_secs(30), || {
        (read(&path)["status"]["active"] == 1).then_some(())
    })
    .unwrap();
    for identity in [Identity::agent(&namespace), Identity::developer(), Identity::worker()] {
        patch_at(&identity, format!("{path}/status"), MERGE, &success(&read(&path))).refused(
            403,
            "JOB025",
            "status.conditions",
            "only the cluster's Job controller writes it",
        );
    }
    let status = &read(&path)["status"];
    assert_eq!((&status["conditions"], &status["active"]), (&Value::Null, &json!(1)), "{status}");
}

#[test]
fn a_pod_that_has_not_run_is_not_said_to_have_succeeded() {
    let namespace = managed();
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    create(&Identity::agent(&namespace), &jobs, &job("work")).admitted();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let pod = eventually("the Job has its Pod", Duration::from_secs(30), || {
        read(&pods).pointer("/items/0/metadata/name").and_then(Value::as_str).map(str::to_owned)
    })
    .unwrap();
    let path = format!("{pods}/{pod}");
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    for identity in [Identity::agent(&namespace), Identity::developer()] {
        patch_at(&identity, format!("{path}/status"), MERGE, &phase("Succeeded")).refused(
            403,
            "JOB025",
            "status.phase",
            "only kubelet and the cluster's controllers change it",
        );
    }
    assert_eq!(read(&path)["status"]["phase"], "Pending");
    let gate = json!({"status": {"conditions": [{"type": "example.dev/ready", "status": "True"}]}});
    patch_at(&Identity::developer(), format!("{path}/status"), STRATEGIC, &gate).admitted();
    patch_at(&Identity::kubelet(), format!("{path}/status"), MERGE, &phase("Succeeded")).admitted();
    eventually("the Job controller counts it", Duration::from_secs(30), || {
        (read(&format!("{jobs}/work"))["status"]["succeeded"] == 1).then_some(())
    })
    .unwrap();
}

#[test]
fn a_template_does_not_give_its_pods_another_runs_identity() {
    let namespace = managed();
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let deployment = |name: &str, run: Option<&str>, project: Option<&str>| {
        let mut labels = json!({"app": name});
        for (key, value) in [("run-id", run), ("project-id", project)] {
            if let Some(value) = value {
                labels[format!("{DOMAIN}/{key}")] = value.into();
            }
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
    };
    let agent = Identity::agent(&namespace);
    for (key, object) in [
        ("run-id", deployment("d", Some("another"), None)),
        ("project-id", deployment("d", Some(&run_id), Some("another"))),
    ] {
        create(&agent, &path, &object).refused(
            403,
            "JOB001",
            &format!("spec.template.metadata.labels[\"codex-k8s.dev/{key}\"]"),
            "the namespace's is",
        );
    }
    create(&agent, &path, &deployment("own", Some(&run_id), None)).admitted();
    create(&agent, &path, &deployment("plain", None, None)).admitted();
    let change = json!({"spec": {"template": {"metadata": {"labels": {"codex-k8s.dev/run-id": "another"}}}}});
    patch_at(&agent, format!("{path}/plain"), STRATEGIC, &change).refused(403, "JOB001", "run-id", "");
    let found = read("/api/v1/pods?labelSelector=codex-k8s.dev%2Frun-id%3Danother");
    assert_eq!(found["items"], json!([]));
}
