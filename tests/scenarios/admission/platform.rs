//! The platform's own traffic passes, and what is stored keeps every value that was sent.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

/// The manifests of the platform at A, in the order in which its worker creates them.
const FIXTURES: [(&str, &str); 7] = [
    ("/api/v1/namespaces", include_str!("../../fixtures/namespace.yaml")),
    ("/api/v1/namespaces/{}/serviceaccounts", include_str!("../../fixtures/serviceaccount.yaml")),
    ("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", include_str!("../../fixtures/role.yaml")),
    (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
        include_str!("../../fixtures/rolebinding.yaml"),
    ),
    ("/api/v1/namespaces/{}/resourcequotas", include_str!("../../fixtures/resourcequota.yaml")),
    ("/api/v1/namespaces/{}/limitranges", include_str!("../../fixtures/limitrange.yaml")),
    ("/apis/batch/v1/namespaces/{}/jobs", include_str!("../../fixtures/job-full-env.yaml")),
];
const NAMESPACE: &str = "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47";
const RUN: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";

/// Returns true if everything in `sent` is in `stored`; `stored` may have more.
pub(crate) fn keeps(stored: &Value, sent: &Value) -> bool {
    match (stored, sent) {
        (Value::Object(stored), Value::Object(sent)) => {
            sent.iter().all(|(key, value)| keeps(stored.get(key).unwrap_or(&Value::Null), value))
        }
        (Value::Array(stored), Value::Array(sent)) => {
            stored.len() >= sent.len() && sent.iter().zip(stored).all(|(sent, stored)| keeps(stored, sent))
        }
        (stored, Value::Object(sent)) if sent.is_empty() => stored.is_null() || stored.is_object(),
        (stored, sent) => stored == sent,
    }
}

/// The fixtures with another run id, so that both clients can send them.
fn fixtures_for(run: &str) -> Vec<(String, Value)> {
    let short: String = run.replace('-', "").chars().take(12).collect();
    let namespace = NAMESPACE.replace("3f2b8c1e9d47", &short);
    let read = |(path, text): &(&str, &str)| {
        let text = text.replace(NAMESPACE, &namespace).replace(RUN, run);
        (path.replace("{}", &namespace), serde_saphyr::from_str(&text).unwrap())
    };
    FIXTURES.iter().map(read).collect()
}

#[test]
fn every_manifest_of_the_worker_is_admitted_through_the_client_and_keeps_its_values() {
    for (path, sent) in fixtures_for("11112222-9d47-4a06-b5e2-7c81d0f4a913") {
        let stored = ensure(&Identity::worker(), &path, &sent);
        let mut sent = sent;
        sent.as_object_mut().unwrap().remove("status");
        assert!(keeps(&stored, &sent), "sent {sent}\nstored {stored}");
    }
}

#[test]
fn every_manifest_of_the_worker_is_admitted_through_kubectl_and_keeps_its_values() {
    let kubectl = cluster().kubectl(&Identity::worker()).unwrap();
    for (_, sent) in fixtures_for("33334444-9d47-4a06-b5e2-7c81d0f4a913") {
        let put = |verb| kubectl.run_with_input(&[verb, "-f", "-", "-o", "json"], &sent.to_string()).unwrap();
        // The baseline may already exist: then the worker replaces it with its own values.
        let mut ran = put("create");
        if ran.stderr.contains("AlreadyExists") {
            ran = put("replace");
        }
        assert!(ran.succeeded(), "{ran}");
        let stored: Value = serde_json::from_str(&ran.stdout).unwrap();
        let mut sent = sent;
        sent.as_object_mut().unwrap().remove("status");
        assert!(keeps(&stored, &sent), "sent {sent}\nstored {stored}");
    }
}

#[test]
fn a_code_only_job_in_the_home_namespace_is_left_as_it_is() {
    create_namespace(&Identity::Admin, &namespace("codex-k8s-ai-staging")).admitted();
    let sent: Value = serde_saphyr::from_str(include_str!("../../fixtures/job-code-only.yaml")).unwrap();
    let path = "/apis/batch/v1/namespaces/codex-k8s-ai-staging/jobs";
    let stored = create(&Identity::worker(), path, &sent).admitted();
    assert_eq!(stored["spec"]["template"]["spec"]["automountServiceAccountToken"], Value::Null);
    assert_eq!(stored["spec"]["template"]["spec"]["containers"], {
        let mut containers = sent["spec"]["template"]["spec"]["containers"].clone();
        containers[0]["imagePullPolicy"] = "Always".into();
        containers[0]["terminationMessagePath"] = "/dev/termination-log".into();
        containers[0]["terminationMessagePolicy"] = "File".into();
        containers
    });
}

#[test]
fn the_workers_ensure_can_be_repeated_on_what_is_stored() {
    let (path, object) = fixtures_for("55556666-9d47-4a06-b5e2-7c81d0f4a913").swap_remove(0);
    let stored = create(&Identity::worker(), &path, &object).admitted();
    let name = stored["metadata"]["name"].as_str().unwrap();
    // The worker reads, sets its labels again, and puts the whole object back.
    let path = format!("/api/v1/namespaces/{name}");
    for _ in 0..3 {
        let fetched = read_namespace(name);
        Send { identity: &Identity::worker(), method: "PUT", path: path.clone(), content_type: JSON }
            .body(&fetched)
            .admitted();
    }
}

#[test]
fn at_b_a_slot_takes_the_platforms_stack_and_its_runs_but_not_an_agents_escape() {
    let name = slot_name();
    let run = format!("run-{}", unique());
    create_namespace(&Identity::platform_control_plane(), &namespace(&name)).admitted();
    let mut labels = json!({"metadata": {"labels": {
        "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": run, "codex-k8s.dev/project-id": "stack",
        "codex-k8s.dev/issue-number": "5", "codex-k8s.dev/agent-key": "dev",
    }, "annotations": {"codex-k8s.dev/correlation-id": "c1"}}});
    for (key, value) in lease("24h", 0) {
        labels["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    merge(&Identity::worker(), &name, &labels).admitted();
    let path = format!("/apis/batch/v1/namespaces/{name}/jobs");
    let build = |job: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job}, "spec": {"template": {"spec": {
        "hostNetwork": true, "restartPolicy": "Never", "containers": [{"name": "kaniko", "image": "kaniko:1"}]}}}})
    };
    create(&Identity::platform_control_plane(), &path, &build("codex-k8s-kaniko-1")).admitted();
    create(&Identity::agent(&name), &path, &build("codex-k8s-kaniko-2")).refused(
        403,
        "JOB018",
        "hostNetwork",
        "",
    );
    let mut own: Value = serde_saphyr::from_str(include_str!("../../fixtures/job-full-env.yaml")).unwrap();
    own["metadata"] = json!({"name": format!("codex-k8s-run-{run}"), "labels": {
        "app.kubernetes.io/name": "codex-k8s-run", "codex-k8s.dev/run-id": run, "codex-k8s.dev/project-id": "stack"}});
    own["spec"]["activeDeadlineSeconds"] = 18_000.into();
    own["spec"]["template"]["metadata"]["labels"]["codex-k8s.dev/run-id"] = run.as_str().into();
    own["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "CODEXK8S_RUN_ID", "value": run}]);
    create(&Identity::worker(), &path, &own).admitted();
}
