//! Default resources that fit: which are set, and that neither kubectl nor a controller sees them as a change.

use codex_k8s_tests::{Identity, Kubectl, Ran};
use serde_json::{Value, json};

use crate::harness::*;

fn pod_spec(resources: &Value) -> Value {
    json!({"restartPolicy": "Never", "containers": [{"name": "build", "image": "busybox:1.36", "resources": resources}]})
}

fn job(resources: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "build"},
        "spec": {"template": {"spec": pod_spec(resources)}}})
}

fn deployment(resources: &Value) -> Value {
    let mut spec = pod_spec(resources);
    spec["restartPolicy"] = "Always".into();
    let labels = json!({"app": "build"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "build"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}})
}

fn requests(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

const TEMPLATE: &str = "/spec/template/spec/containers/0/resources";

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?dryRun=All")
}

fn await_default_account(namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    codex_k8s_tests::eventually("the default ServiceAccount", std::time::Duration::from_secs(30), || {
        let get = Send { identity: &Identity::Admin, method: "GET", path: path.clone(), content_type: JSON };
        (get.body(&Value::Null).code == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn a_request_above_the_default_limit_becomes_the_limit_of_a_job_and_of_a_pod() {
    let namespace = managed();
    await_default_account(&namespace);
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
    let stored = create(&Identity::developer(), &path, &job(&requests("2", "2Gi"))).admitted();
    let expected =
        json!({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}});
    assert_eq!(stored.pointer(TEMPLATE), Some(&expected));
    let pod = |resources: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "build"}, "spec": pod_spec(resources)});
    let send = |pod: &Value| create(&Identity::developer(), &pods(&namespace), pod);
    let stored = send(&pod(&requests("2", "2Gi"))).admitted();
    assert_eq!(stored["spec"]["containers"][0]["resources"], expected);
    // A limit that its author wrote is left alone.
    let mut own = pod(&requests("2", "1Gi"));
    own["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "1"});
    assert_eq!(send(&own).code, 422);
    let mut shared = pod(&json!({}));
    shared["spec"]["resources"] = json!({"limits": {"cpu": "100m"}});
    let stored = send(&shared).admitted();
    assert_eq!(stored["spec"]["containers"][0]["resources"]["limits"]["cpu"], "100m");
}

/// Runs kubectl with an object on its standard input.
#[track_caller]
fn run(kubectl: &Kubectl, namespace: &str, command: &[&str], object: &Value) -> Ran {
    let args = [command, &["--namespace", namespace, "-f", "-"]].concat();
    kubectl.run_with_input(&args, &object.to_string()).unwrap()
}

/// The generation of an object, which every change of its spec raises, and the resources of its container.
fn generation_and_resources(kubectl: &Kubectl, namespace: &str, path: &str) -> (Value, Value) {
    let ran = kubectl.run(&["get", "--namespace", namespace, path, "-o", "json"]).unwrap();
    let stored: Value = serde_json::from_str(&ran.stdout).unwrap();
    (stored["metadata"]["generation"].clone(), stored.pointer(TEMPLATE).unwrap().clone())
}

#[test]
fn a_second_run_of_kubectl_changes_nothing_and_a_file_without_limits_replaces_a_deployment() {
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    for object in [job(&requests("2", "2Gi")), deployment(&requests("2", "2Gi"))] {
        for apply in [&["apply"][..], &["apply", "--server-side"]] {
            let namespace = managed();
            let path = format!("{}/build", object["kind"].as_str().unwrap());
            let read = || generation_and_resources(&kubectl, &namespace, &path);
            let first = run(&kubectl, &namespace, apply, &object);
            assert!(first.succeeded(), "{first}");
            let created = read();
            let again = run(&kubectl, &namespace, apply, &object);
            assert!(again.succeeded(), "{again}");
            let diff = run(&kubectl, &namespace, &["diff"], &object);
            assert!(diff.succeeded() && diff.stdout.is_empty(), "{diff}");
            assert_eq!(read(), created, "{object}");
            if object["kind"] == "Deployment" {
                let replaced = run(&kubectl, &namespace, &["replace"], &object);
                assert!(replaced.succeeded(), "{replaced}");
                assert_eq!(read().1, created.1, "{object}");
            }
        }
    }
}

#[test]
fn a_limit_that_was_set_follows_a_request_that_is_raised() {
    let namespace = managed();
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let apply = |cpu: &str| run(&kubectl, &namespace, &["apply"], &deployment(&requests(cpu, "1Gi")));
    for (request, limit) in [("2", "2"), ("3", "3"), ("2500m", "3"), ("500m", "3")] {
        let applied = apply(request);
        assert!(applied.succeeded(), "{applied}");
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/build");
        let get = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
        let stored = get.body(&Value::Null).admitted();
        assert_eq!(stored.pointer(TEMPLATE).unwrap()["limits"], json!({"cpu": limit}), "{request}");
    }
}
