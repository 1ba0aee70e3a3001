//! Objects are admitted with the fields that the API server and its plug-ins have added: their authors did not write
//! them.

use codex_k8s_tests::{Identity, Ran};
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
fn a_variable_of_the_run_comes_before_those_that_refer_to_it() {
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

/// Runs kubectl as a developer with an object as its input.
#[track_caller]
fn kubectl(args: &[&str], object: &Value) -> Ran {
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let ran = kubectl.run_with_input(&[args, &["-f", "-"]].concat(), &object.to_string()).unwrap();
    assert!(ran.succeeded(), "{ran}");
    ran
}

const BACKOFF: &str = "/spec/backoffLimit";

fn stored_limit(namespace: &str, name: &str) -> Value {
    let path = format!("{}/{name}", jobs(namespace));
    let send = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
    send.body(&Value::Null).admitted().pointer(BACKOFF).cloned().unwrap_or_default()
}

#[test]
fn a_job_without_a_retry_limit_gets_the_policys_and_not_the_api_servers() {
    let namespace = managed();
    let mut once = job("once", &json!({}), &json!({}));
    once["metadata"]["namespace"] = namespace.as_str().into();
    let ran = kubectl(&["apply"], &once);
    let warning = "Warning: JOB009: spec.backoffLimit: set to 0, jobs.backoffLimit.default of the policy, because 6 is \
                   what the API server writes into a Job without it";
    assert!(ran.stderr.contains(warning), "{ran}");
    assert_eq!(stored_limit(&namespace, "once"), 0);
    let ran = kubectl(&["apply"], &once);
    assert!(ran.stdout.contains("unchanged") && !ran.stderr.contains("JOB009"), "{ran}");
    let written = kubectl(&["apply"], &job_in(&namespace, "twice", &json!({"backoffLimit": 2})));
    assert!(!written.stderr.contains("JOB009"), "{written}");
    assert_eq!(stored_limit(&namespace, "twice"), 2);
}

fn job_in(namespace: &str, name: &str, spec: &Value) -> Value {
    let mut job = job(name, spec, &json!({}));
    job["metadata"]["namespace"] = namespace.into();
    job
}

#[test]
fn a_job_with_retries_per_index_is_not_held_to_the_limit_that_the_api_server_writes() {
    let namespace = managed();
    let indexed = |completions: u8| json!({"completionMode": "Indexed", "completions": completions, "parallelism": 2, "backoffLimitPerIndex": 1});
    let ran = kubectl(&["apply"], &job_in(&namespace, "shards", &indexed(2)));
    assert!(!ran.stderr.contains("JOB009"), "{ran}");
    assert_eq!(stored_limit(&namespace, "shards"), i32::MAX);
    let answer = create(&Identity::developer(), &jobs(&namespace), &job("many", &indexed(7), &json!({})));
    answer.refused(
        403,
        "JOB009",
        "spec.backoffLimitPerIndex",
        "1 for each of 7 completions: must be at most 6",
    );
}

#[test]
fn retries_that_no_limit_counts_are_refused() {
    let namespace = managed();
    let send = |spec: Value, pod: Value| {
        create(&Identity::developer(), &jobs(&namespace), &job("never-gives-up", &spec, &pod))
    };
    let ignores = |rule: Value| json!({"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}});
    let exit_codes = json!({"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [0]}});
    let action = "spec.podFailurePolicy.rules[0].action";
    send(ignores(exit_codes), json!({})).refused(403, "JOB009", action, "DisruptionTarget");
    let condition =
        |name: &str| json!({"action": "Ignore", "onPodConditions": [{"type": name, "status": "True"}]});
    send(ignores(condition("Ready")), json!({})).refused(403, "JOB009", action, "DisruptionTarget");
    let always =
        json!({"containers": [{"name": "agent", "image": "busybox:1.36", "restartPolicy": "Always"}]});
    send(json!({}), always).refused(403, "JOB009", "containers[0].restartPolicy", "must be Never");
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    let restarts = |list: &str| json!({list: [{"name": "one", "image": "busybox:1.36", "restartPolicy": "Never", "restartPolicyRules": rules}]});
    for list in ["containers", "initContainers"] {
        let field = format!("spec.template.spec.{list}[0].restartPolicyRules[0].action");
        send(json!({}), restarts(list)).refused(403, "JOB009", &field, "would not count");
    }
    let sidecar = json!({"name": "proxy", "image": "busybox:1.36", "restartPolicy": "Always"});
    send(ignores(condition("DisruptionTarget")), json!({"initContainers": [sidecar]})).admitted();
}

#[test]
fn a_gitops_tool_finds_its_finished_job_for_as_long_as_the_namespace_exists() {
    let namespace = managed();
    let manifest = job_in(&namespace, "agent", &json!({"backoffLimit": 0}));
    kubectl(&["apply"], &manifest);
    for args in [&["apply"][..], &["apply", "--server-side", "--force-conflicts"]] {
        kubectl(args, &manifest);
        let path = format!("{}/agent", jobs(&namespace));
        let send = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
        let stored = send.body(&Value::Null).admitted();
        assert_eq!(stored["spec"]["ttlSecondsAfterFinished"], Value::Null);
    }
}
