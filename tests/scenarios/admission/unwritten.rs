//! What the API server and its plug-ins write into an object is not held against the author of the object.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

/// A Job, with other fields in its spec and in the spec of its Pods.
fn job(name: &str, spec: &Value, pod: &Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "agent", "image": "busybox:1.36"}]}}}});
    json_patch::merge(&mut job["spec"], spec);
    json_patch::merge(&mut job["spec"]["template"]["spec"], pod);
    job
}

#[test]
fn a_variable_of_the_run_stands_before_those_that_refer_to_it() {
    let namespace = managed();
    let env = json!([{"name": "WORKSPACE", "value": "/workspace/$(CODEXK8S_RUN_ID)"},
        {"name": "REPORT_URL", "value": "https://reports.example/$(CODEXK8S_PROJECT_ID)/$(CODEXK8S_RUN_ID)"}]);
    let containers = json!([{"name": "agent", "image": "busybox:1.36", "env": env}]);
    let mut sent = job("agent", &json!({}), &json!({"containers": containers, "initContainers": containers}));
    sent["spec"]["template"]["spec"]["initContainers"][0]["name"] = "prepare".into();
    let stored = create(&Identity::developer(), &jobs(&namespace), &sent).admitted();
    for list in ["containers", "initContainers"] {
        let env = stored["spec"]["template"]["spec"][list][0]["env"].as_array().unwrap();
        let names: Vec<_> = env.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "CODEXK8S_RUN_ID",
                "CODEXK8S_CORRELATION_ID",
                "CODEXK8S_PROJECT_ID",
                "CODEXK8S_RUNTIME_MODE",
                "WORKSPACE",
                "REPORT_URL"
            ]
        );
    }
}
