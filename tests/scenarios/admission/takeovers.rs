//! Ways round the rules about workloads: through existing objects, through subresources, through other kinds.

use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn deployments(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments")
}

#[track_caller]
fn get(path: String) -> Answer {
    Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null)
}

/// Waits for an account that Pods need.
fn await_account(namespace: &str, name: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    eventually("the ServiceAccount is there", Duration::from_secs(10), || {
        (get(path.clone()).code == 200).then_some(())
    })
    .unwrap();
}

/// A managed namespace in which Pods can be created.
fn with_accounts() -> String {
    let namespace = managed();
    await_account(&namespace, "default");
    namespace
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {}, "annotations": {}},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": "busybox:1.36"}]}})
}

/// A slot with the platform's own Deployment and Pod in it.
fn slot_with_the_platforms_stack() -> String {
    let name = slot();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "codex-k8s-control-plane"}});
    let platform = Identity::platform_control_plane();
    create(&platform, &format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).admitted();
    let template = json!({"metadata": {"labels": {"app": "platform"}}, "spec": {"hostNetwork": true,
        "serviceAccountName": "codex-k8s-control-plane", "containers": [{"name": "c", "image": "platform:1"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "platform"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "platform"}}, "template": template}});
    create(&platform, &deployments(&name), &deployment).admitted();
    let mut own = pod("platform");
    own["spec"] = template["spec"].clone();
    create(&platform, &pods(&name), &own).admitted();
    name
}

#[test]
fn an_agent_does_not_put_its_program_into_the_platforms_deployment() {
    let slot = slot_with_the_platforms_stack();
    let agent = Identity::agent(&slot);
    let path = format!("{}/platform", deployments(&slot));
    let container = |change: Value| {
        let mut container = json!({"name": "c"});
        container.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    for change in [
        json!({"image": "mine:1"}),
        json!({"command": ["sh"]}),
        json!({"env": [{"name": "A", "value": "b"}]}),
    ] {
        patch_at(&agent, path.clone(), STRATEGIC, &container(change)).refused(
            403,
            "JOB004",
            "spec.template.spec.serviceAccountName",
            "codex-runner",
        );
    }
    let scaled = json!({"spec": {"replicas": 2}});
    patch_at(&agent, path.clone(), STRATEGIC, &scaled).admitted();
    patch_at(
        &Identity::platform_control_plane(),
        path,
        STRATEGIC,
        &container(json!({"image": "platform:2"})),
    )
    .admitted();
}

#[test]
fn an_agent_does_not_put_its_program_into_the_platforms_pod() {
    let slot = slot_with_the_platforms_stack();
    let agent = Identity::agent(&slot);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "mine:1"}]}});
    let path = format!("{}/platform", pods(&slot));
    patch_at(&agent, path.clone(), STRATEGIC, &image).refused(
        403,
        "JOB018",
        "spec.hostNetwork",
        "Invalid value: true",
    );
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "mine:1"}]}});
    patch_at(&agent, format!("{path}/ephemeralcontainers"), STRATEGIC, &debug).refused(
        403,
        "JOB004",
        "spec.serviceAccountName",
        "codex-k8s-control-plane",
    );
}

#[test]
fn a_privileged_ephemeral_container_is_refused_and_a_plain_one_is_not() {
    let namespace = with_accounts();
    let slot = slot_with_the_platforms_stack();
    await_account(&slot, "default");
    let debug = |security: &Value| json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox:1.36", "securityContext": security}]}});
    let rough = [
        (json!({"privileged": true}), "JOB017", "privileged"),
        (json!({"capabilities": {"add": ["SYS_PTRACE"]}}), "JOB020", "capabilities.add[0]"),
    ];
    for namespace in [&namespace, &slot] {
        let agent = Identity::agent(namespace);
        create(&agent, &pods(namespace), &pod("p")).admitted();
        let path = format!("{}/p/ephemeralcontainers", pods(namespace));
        for (security, rule, field) in &rough {
            let answer = patch_at(&agent, path.clone(), STRATEGIC, &debug(security));
            if namespace == &slot {
                // Pod Security does not check this: only the rules can refuse it.
                let field = format!("spec.ephemeralContainers[0].securityContext.{field}");
                answer.refused(403, rule, &field, "");
            } else {
                assert!(
                    answer.code == 403 && answer.body.to_string().contains("violates PodSecurity"),
                    "{answer:?}"
                );
            }
        }
        patch_at(&agent, path, STRATEGIC, &debug(&json!({}))).admitted();
    }
}

#[test]
fn a_pod_does_not_take_another_runs_identity_through_its_status() {
    let namespace = with_accounts();
    create(&Identity::worker(), &pods(&namespace), &pod("p")).admitted();
    let agent = Identity::agent(&namespace);
    let stolen = json!({"metadata": {"labels": {"codex-k8s.dev/run-id": "another"}}});
    let disguise = json!({"metadata": {"labels": {"app.kubernetes.io/name": "codex-k8s-run"}}});
    let kept = json!({"metadata": {"finalizers": ["example.dev/stay"]}});
    for path in [format!("{}/p", pods(&namespace)), format!("{}/p/status", pods(&namespace))] {
        patch_at(&agent, path.clone(), MERGE, &stolen).refused(403, "JOB001", "run-id", "the namespace's is");
        patch_at(&agent, path.clone(), MERGE, &disguise).refused(403, "JOB002", "app.kubernetes.io/name", "");
        patch_at(&agent, path, MERGE, &kept).refused(
            403,
            "JOB003",
            "metadata.finalizers",
            "example.dev/stay",
        );
    }
    let running = json!({"status": {"phase": "Running"}});
    patch_at(&Identity::kubelet(), format!("{}/p/status", pods(&namespace)), MERGE, &running).admitted();
}

#[test]
fn a_job_or_cron_job_does_not_change_its_identity_through_its_status() {
    let namespace = managed();
    let template = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": template});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "w"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": template}}});
    let agent = Identity::agent(&namespace);
    let stolen = json!({"metadata": {"labels": {"codex-k8s.dev/run-id": "another"}}});
    for (kind, object) in [("jobs", job), ("cronjobs", cron)] {
        let path = format!("/apis/batch/v1/namespaces/{namespace}/{kind}");
        create(&agent, &path, &object).admitted();
        for subresource in ["", "/status"] {
            patch_at(&agent, format!("{path}/w{subresource}"), MERGE, &stolen).refused(
                403,
                "JOB001",
                "run-id",
                "the namespace's is",
            );
        }
        patch_at(&agent, format!("{path}/w/status"), MERGE, &json!({"status": {}})).admitted();
    }
}

#[test]
fn a_pod_is_not_bound_to_a_node_by_hand() {
    let namespace = with_accounts();
    create(&Identity::worker(), &pods(&namespace), &pod("p")).admitted();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "control-plane-1"}});
    for path in
        [format!("{}/p/binding", pods(&namespace)), format!("/api/v1/namespaces/{namespace}/bindings")]
    {
        for identity in [Identity::agent(&namespace), Identity::developer(), Identity::worker()] {
            create(&identity, &path, &binding).refused(
                403,
                "JOB012",
                "target.name",
                "leave the Pod to the scheduler",
            );
        }
    }
    let scheduler = Identity::user("system:kube-scheduler").in_group("system:masters");
    create(&scheduler, &format!("{}/p/binding", pods(&namespace)), &binding).admitted();
}

#[test]
fn a_resize_is_called_for_and_passes() {
    let namespace = with_accounts();
    create(&Identity::worker(), &pods(&namespace), &pod("p")).admitted();
    let path = format!("{}/p/resize", pods(&namespace));
    let resized = json!({"metadata": {"labels": {"codex-k8s.dev/run-id": "another"}}, "spec": {"containers":
        [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}});
    let answer = patch_at(&Identity::agent(&namespace), path, STRATEGIC, &resized);
    // The API server decides about the resize itself; the label must never be stored.
    assert!(answer.code < 500, "{answer:?}");
    let stored = get(format!("{}/p", pods(&namespace))).admitted();
    assert_ne!(label(&stored, "run-id"), "another");
}

#[test]
fn every_kind_that_pods_are_made_of_is_evaluated() {
    let namespace = managed();
    let bad = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostPID": true,
        "containers": [{"name": "c", "image": "busybox:1.36"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    for (api, kind, plural, spec) in [
        ("apps/v1", "ReplicaSet", "replicasets", json!({"selector": selector, "template": bad})),
        ("apps/v1", "DaemonSet", "daemonsets", json!({"selector": selector, "template": bad})),
        (
            "apps/v1",
            "StatefulSet",
            "statefulsets",
            json!({"serviceName": "s", "selector": selector, "template": bad}),
        ),
        (
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            json!({"selector": {"a": "b"}, "template": bad}),
        ),
    ] {
        let root = if api == "v1" { "/api" } else { "/apis" };
        let object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "w"}, "spec": spec});
        create(
            &Identity::agent(&namespace),
            &format!("{root}/{api}/namespaces/{namespace}/{plural}"),
            &object,
        )
        .refused(403, "JOB018", "spec.template.spec.hostPID", "Invalid value: true");
    }
    let revision = |template: Value| {
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "w-1"}, "revision": 1,
            "data": {"spec": {"template": template}}})
    };
    let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions");
    create(&Identity::agent(&namespace), &path, &revision(bad)).refused(
        403,
        "JOB018",
        "data.spec.template.spec.hostPID",
        "Invalid value: true",
    );
}

#[test]
fn a_stateful_set_and_a_daemon_set_work_as_ever() {
    let namespace = managed();
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    for (kind, plural) in [("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")] {
        let object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"},
            "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}});
        let mut object = object;
        if kind == "DaemonSet" {
            object["spec"].as_object_mut().unwrap().remove("serviceName");
        }
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
        create(&Identity::agent(&namespace), &path, &object).admitted();
    }
    let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions");
    eventually("both controllers have written their revision", Duration::from_secs(20), || {
        let list = get(path.clone()).admitted();
        (list["items"].as_array().map_or(0, Vec::len) == 2).then_some(())
    })
    .unwrap();
}

#[test]
fn the_mirror_annotation_exempts_no_one() {
    let namespace = code_only();
    let mut mirror = pod("mirror");
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "x".into();
    mirror["spec"].as_object_mut().unwrap().remove("serviceAccountName");
    mirror["spec"]["nodeName"] = "control-plane-1".into();
    create(&Identity::agent(&namespace), &pods(&namespace), &mirror).refused(
        403,
        "JOB012",
        "spec.nodeName",
        "",
    );
}

#[test]
fn an_agent_never_starts_a_runs_own_job() {
    let namespace = managed();
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    let job = |metadata: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
    };
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let own = job(json!({"name": format!("codex-k8s-run-{run_id}")}));
    create(&Identity::agent(&namespace), &path, &own).refused(
        403,
        "JOB002",
        "metadata.name",
        "only the platform",
    );
    let generated = job(json!({"generateName": "codex-k8s-run-"}));
    create(&Identity::agent(&namespace), &path, &generated).refused(
        403,
        "JOB002",
        "metadata.name",
        "the runs' own",
    );
    create(&Identity::worker(), &path, &own).admitted();
}
