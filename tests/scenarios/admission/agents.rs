//! Requests of the agent itself, with every right that RBAC can give.

use codex_k8s_tests::Identity;
use serde_json::json;

use crate::harness::*;

#[test]
fn an_agent_changes_neither_identity_nor_lease_nor_security_of_its_namespace() {
    let name = managed();
    let agent = Identity::agent(&name);
    relabel(&agent, &name, "project-id", &"other".into()).refused(403, "NS003", "project-id", "");
    let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    merge(&agent, &name, &level).refused(403, "NS014", "enforce", "");
    delete_namespace(&agent, &name).refused(403, "NS015", "", "");
}

#[test]
fn a_namesake_of_the_worker_in_another_namespace_is_no_manager() {
    let name = managed();
    let namesake = Identity::service_account("somewhere", "codex-k8s-worker");
    delete_namespace(&namesake, &name).refused(403, "NS015", "", "the lease lives");
}

#[test]
fn an_agents_own_job_is_mutated_into_its_run() {
    let name = managed();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "unit-tests"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    let path = format!("/apis/batch/v1/namespaces/{name}/jobs");
    let stored = create(&Identity::agent(&name), &path, &job).admitted();
    let run_id = label(&read_namespace(&name), "run-id").to_owned();
    assert_eq!(label(&stored, "run-id"), run_id);
    assert_eq!(stored["spec"]["template"]["metadata"]["labels"]["codex-k8s.dev/run-id"], run_id);
    assert_eq!(stored["spec"]["template"]["spec"]["serviceAccountName"], "codex-runner");
    assert_eq!(stored["spec"]["activeDeadlineSeconds"], 900);
    assert_eq!(stored["spec"]["backoffLimit"], 0);
    let env = stored["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    assert!(env.contains(&format!(r#"{{"name":"CODEXK8S_RUN_ID","value":"{run_id}"}}"#)), "{env}");
}
