//! Coverage: every rule, every subresource, and the good cases that no other file has.

use std::collections::BTreeSet;
use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use codex_k8s_webhook::rules::catalogue;
use serde_json::{Value, json};

use crate::harness::*;

const SCENARIOS: [&str; 22] = [
    include_str!("agent_jobs.rs"),
    include_str!("agents.rs"),
    include_str!("bypasses.rs"),
    include_str!("coverage.rs"),
    include_str!("guard.rs"),
    include_str!("guard_fight.rs"),
    include_str!("guard_rights.rs"),
    include_str!("guard_tokens.rs"),
    include_str!("leases.rs"),
    include_str!("load.rs"),
    include_str!("modes.rs"),
    include_str!("names.rs"),
    include_str!("namespaces.rs"),
    include_str!("never_run/cases.rs"),
    include_str!("platform.rs"),
    include_str!("pod_security.rs"),
    include_str!("quota.rs"),
    include_str!("results.rs"),
    include_str!("takeovers.rs"),
    include_str!("workloads.rs"),
    include_str!("../baseline/gate.rs"),
    include_str!("../quota/harness.rs"),
];

#[test]
fn every_rule_refuses_something_in_a_scenario() {
    let told = |source: &str, id: &str| {
        source.contains(&format!("\"{id}\"")) || source.contains(&format!("\"{id}: "))
    };
    let tried = |id: &str| SCENARIOS.iter().any(|source| told(source, id));
    // It adds the defaults of a LimitRange, and refuses nothing.
    let only_mutates = concat!("JOB", "023");
    let missing: Vec<_> =
        catalogue::all().map(|rule| rule.id).filter(|id| *id != only_mutates && !tried(id)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_job_that_keeps_to_every_rule_is_admitted_as_it_was_sent() {
    let namespace = managed();
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    let project = label(&read_namespace(&namespace), "project-id").to_owned();
    let labels = json!({"codex-k8s.dev/run-id": run_id, "codex-k8s.dev/project-id": project});
    let pod = json!({
        "restartPolicy": "Never", "serviceAccountName": "codex-runner-readonly", "automountServiceAccountToken": true,
        "hostNetwork": false, "schedulerName": "default-scheduler", "nodeSelector": {"disk": "ssd"},
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}},
        ],
        "containers": [{"name": "c", "image": "busybox:1.36",
            "ports": [{"containerPort": 8080}],
            "securityContext": {"privileged": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
            "env": [
                {"name": "CODEXK8S_RUN_ID", "value": run_id},
                {"name": "CODEXK8S_CORRELATION_ID", "value": run_id},
                {"name": "CODEXK8S_PROJECT_ID", "value": project},
                {"name": "CODEXK8S_RUNTIME_MODE", "value": "full-env"},
            ]}],
    });
    let sent = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "good", "labels": labels, "finalizers": ["orphan"]},
        "spec": {"activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 60, "backoffLimit": 1, "parallelism": 2,
            "completions": 2, "managedBy": "kubernetes.io/job-controller",
            "template": {"metadata": {"labels": {"codex-k8s.dev/run-id": run_id}}, "spec": pod}}});
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let stored = create(&Identity::agent(&namespace), &path, &sent).admitted();
    assert_eq!(stored["spec"]["template"]["spec"]["containers"][0]["env"], pod["containers"][0]["env"]);
    assert_eq!(stored["metadata"]["labels"], labels);
}

#[test]
fn a_run_gets_another_namespace_once_its_first_is_being_deleted() {
    let first = managed();
    let run_id = label(&read_namespace(&first), "run-id").to_owned();
    delete_namespace(&Identity::worker(), &first).admitted();
    let second = with_label(namespace(&format!("codex-run-{}", unique())), "run-id", &run_id);
    eventually("the cache knows that the first one goes", Duration::from_secs(10), || {
        (create_namespace(&Identity::developer(), &second).code < 300).then_some(())
    })
    .unwrap();
}

#[test]
fn a_lease_at_either_bound_is_admitted() {
    for ttl in ["5m0s", "168h0m0s"] {
        let object =
            with_annotation(namespace(&format!("codex-issue-{}", unique())), "namespace-lease-ttl", ttl);
        let stored = create_namespace(&Identity::developer(), &object).admitted();
        assert_eq!(annotation(&stored, "namespace-lease-ttl"), ttl);
    }
}

#[test]
fn retries_per_index_are_capped_as_retries_are() {
    let namespace = managed();
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let job = |per_index: i64| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "indexed"}, "spec": {
            "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": per_index,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
    };
    create(&Identity::agent(&namespace), &path, &job(4)).refused(
        403,
        "JOB009",
        "spec.backoffLimitPerIndex",
        "at most 6",
    );
    let mut bounded = job(4);
    bounded["spec"]["backoffLimit"] = 6.into();
    let path_of_dry_run = format!("{path}?dryRun=All");
    create(&Identity::agent(&namespace), &path_of_dry_run, &bounded).admitted();
    create(&Identity::agent(&namespace), &path, &job(3)).admitted();
}

#[test]
fn an_app_armor_profile_is_not_switched_off_by_annotation() {
    let namespace = managed();
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let job = |profile: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "armed"}, "spec": {"template": {
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": profile}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
    };
    create(&Identity::agent(&namespace), &path, &job("unconfined")).refused(
        403,
        "JOB020",
        "spec.template.metadata.annotations",
        "leave it out",
    );
    create(&Identity::agent(&namespace), &path, &job("runtime/default")).admitted();
}

/// The audit log shows every call of our webhook; other scenarios make the requests too, here they are all together.
#[test]
fn every_registered_subresource_calls_us() {
    let namespace = managed();
    eventually("default ServiceAccount", Duration::from_secs(10), || {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        let read =
            Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
        (read.code == 200).then_some(())
    })
    .unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {}},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": "busybox:1.36",
            "resources": {"requests": {"cpu": "10m"}}}]}});
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    create(&Identity::worker(), &pods, &pod).admitted();
    let team = json!({"metadata": {"labels": {"team": "a"}}});
    let resized = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}});
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox:1.36"}]}});
    let worker = Identity::worker();
    patch_at(&worker, format!("{pods}/p/status"), MERGE, &team).admitted();
    patch_at(&worker, format!("{pods}/p/resize"), STRATEGIC, &resized).admitted();
    patch_at(&worker, format!("{pods}/p/ephemeralcontainers"), STRATEGIC, &debug).admitted();
    patch_at(&worker, format!("/api/v1/namespaces/{namespace}/status"), MERGE, &team).admitted();
    let path = format!("/api/v1/namespaces/{namespace}/finalize");
    let stored = read_namespace(&namespace);
    Send { identity: &worker, method: "PUT", path, content_type: JSON }.body(&stored).admitted();
    let wanted = [
        "pods/ephemeralcontainers",
        "pods/resize",
        "pods/status",
        "namespaces/finalize",
        "namespaces/status",
    ];
    let called = || {
        let events = cluster().audit_events();
        let ours = events.iter().filter(|event| {
            let object = &event["objectRef"];
            let about = object["namespace"] == namespace.as_str() || object["name"] == namespace.as_str();
            let noted = event["annotations"].as_object();
            about
                && noted.is_some_and(|noted| {
                    noted.keys().any(|key| key.ends_with(".guard.codex-k8s.dev/decision"))
                })
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = |event: &Value| {
            format!("{}/{}", text(&event["objectRef"]["resource"]), text(&event["objectRef"]["subresource"]))
        };
        ours.map(name).collect::<BTreeSet<_>>()
    };
    eventually("the audit log tells of every call", Duration::from_secs(10), || {
        let called = called();
        wanted.iter().all(|wanted| called.contains(*wanted)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", called()));
}
