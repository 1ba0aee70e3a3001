//! Jobs, `CronJobs`, Pods and Pod templates.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {}},
        "spec": {"template": {"metadata": {"labels": {}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

/// A Job with one field set, created by a developer in a full-env namespace.
#[track_caller]
fn developer_sets(pointer: &str, value: Value) -> Answer {
    let namespace = managed();
    create(&Identity::developer(), &jobs(&namespace), &with(job("j"), pointer, value))
}

const POD: &str = "/spec/template/spec";

#[test]
fn a_jobs_identity_is_its_namespaces() {
    let namespace = managed();
    let mut other = job("j");
    other["metadata"]["labels"]["codex-k8s.dev/run-id"] = "another".into();
    create(&Identity::worker(), &jobs(&namespace), &other).refused(
        403,
        "JOB001",
        "codex-k8s.dev/run-id",
        "the namespace's is",
    );
    let mut inner = job("j");
    inner["spec"]["template"]["metadata"]["labels"]["codex-k8s.dev/run-id"] = "another".into();
    create(&Identity::agent(&namespace), &jobs(&namespace), &inner).refused(
        403,
        "JOB001",
        "spec.template.metadata.labels[\"codex-k8s.dev/run-id\"]",
        "the namespace's is",
    );
}

#[test]
fn names_of_runs_belong_to_runs() {
    let namespace = managed();
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    create(&Identity::agent(&namespace), &jobs(&namespace), &job("codex-k8s-run-another")).refused(
        403,
        "JOB002",
        "metadata.name",
        &format!("codex-k8s-run-{run_id}"),
    );
    let mut disguised = job("innocent");
    disguised["metadata"]["labels"]["app.kubernetes.io/name"] = "codex-k8s-run".into();
    create(&Identity::agent(&namespace), &jobs(&namespace), &disguised).refused(
        403,
        "JOB002",
        "app.kubernetes.io/name",
        "only the run's own Job",
    );
    let mut own = job(&format!("codex-k8s-run-{run_id}"));
    own["metadata"]["labels"]["app.kubernetes.io/name"] = "codex-k8s-run".into();
    create(&Identity::worker(), &jobs(&namespace), &own).admitted();
}

#[test]
fn a_finalizer_on_a_job_is_refused() {
    let answer = developer_sets("/metadata/finalizers", json!(["example.dev/stay"]));
    answer.refused(403, "JOB003", "metadata.finalizers", "example.dev/stay");
    let inner = developer_sets("/spec/template/metadata/finalizers", json!(["example.dev/stay"]));
    inner.refused(403, "JOB003", "spec.template.metadata.finalizers", "example.dev/stay");
    developer_sets("/metadata/finalizers", json!(["foregroundDeletion"])).admitted();
}

#[test]
fn another_service_account_is_refused_in_both_spellings() {
    for field in ["serviceAccountName", "serviceAccount"] {
        let answer = developer_sets(&format!("{POD}/{field}"), "codex-k8s-worker".into());
        answer.refused(
            403,
            "JOB004",
            "spec.template.spec.serviceAccount",
            "codex-runner or codex-runner-readonly",
        );
    }
    developer_sets(&format!("{POD}/serviceAccountName"), "codex-runner-readonly".into()).admitted();
}

#[test]
fn a_code_only_job_gets_no_token() {
    let namespace = code_only();
    let stored = create(&Identity::worker(), &jobs(&namespace), &job("j")).admitted();
    assert_eq!(stored.pointer(&format!("{POD}/automountServiceAccountToken")), Some(&json!(false)));
    let asking = with(job("k"), &format!("{POD}/automountServiceAccountToken"), true.into());
    create(&Identity::worker(), &jobs(&namespace), &asking).refused(
        403,
        "JOB005",
        "automountServiceAccountToken",
        "code-only",
    );
    let volume = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    let projected = with(job("l"), &format!("{POD}/volumes"), volume);
    create(&Identity::worker(), &jobs(&namespace), &projected).refused(
        403,
        "JOB005",
        "volumes[0].projected.sources[0]",
        "has none",
    );
    let account = with(job("m"), &format!("{POD}/serviceAccountName"), "codex-runner".into());
    create(&Identity::worker(), &jobs(&namespace), &account).refused(
        403,
        "JOB004",
        "serviceAccountName",
        "code-only workloads run as default",
    );
}

#[test]
fn a_bare_pod_in_a_code_only_namespace_loses_the_token_that_was_injected() {
    let namespace = code_only();
    codex_k8s_tests::eventually("default ServiceAccount", std::time::Duration::from_secs(10), || {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        let read =
            Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
        (read.code == 200).then_some(())
    })
    .unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "discussion"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "run", "image": "busybox:1.36"}]}});
    let stored =
        create(&Identity::worker(), &format!("/api/v1/namespaces/{namespace}/pods"), &pod).admitted();
    assert_eq!(stored["spec"]["automountServiceAccountToken"], false);
    assert!(!stored["spec"].to_string().contains("kube-api-access"), "{stored}");
}

#[test]
fn tokens_for_others_and_long_lived_ones_are_refused() {
    let volume =
        |token: Value| json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}]);
    let at = format!("{POD}/volumes");
    developer_sets(&at, volume(json!({"path": "t", "audience": "vault"})))
        .refused(403, "JOB006", "audience", "vault");
    developer_sets(&at, volume(json!({"path": "t", "expirationSeconds": 86400}))).refused(
        403,
        "JOB006",
        "expirationSeconds",
        "3607",
    );
    developer_sets(&at, volume(json!({"path": "t", "expirationSeconds": 3600}))).admitted();
}

#[test]
fn deadlines_are_capped() {
    developer_sets("/spec/activeDeadlineSeconds", 18_000.into()).admitted();
    developer_sets("/spec/activeDeadlineSeconds", 18_001.into()).refused(
        403,
        "JOB007",
        "spec.activeDeadlineSeconds",
        "at most 18000",
    );
}

#[test]
fn finished_jobs_with_generated_names_are_removed_and_others_stay() {
    let namespace = managed();
    let send = |job: &Value| create(&Identity::developer(), &jobs(&namespace), job);
    let mut generated = job("x");
    generated["metadata"] = json!({"generateName": "tests-"});
    let stored = send(&generated).admitted();
    assert_eq!(stored["spec"]["ttlSecondsAfterFinished"], 600);
    let path = format!("{}/{}", jobs(&namespace), stored["metadata"]["name"].as_str().unwrap());
    let change = |ttl: Value| {
        let change = json!({"spec": {"ttlSecondsAfterFinished": ttl}});
        patch_at(&Identity::developer(), path.clone(), MERGE, &change)
    };
    change(json!(90_000)).refused(403, "JOB008", "ttlSecondsAfterFinished", "at most 86400");
    assert_eq!(change(Value::Null).admitted()["spec"]["ttlSecondsAfterFinished"], 600);
    send(&with(generated, "/spec/ttlSecondsAfterFinished", 0.into())).admitted();
    assert_eq!(send(&job("own")).admitted()["spec"]["ttlSecondsAfterFinished"], Value::Null);
    send(&with(job("week"), "/spec/ttlSecondsAfterFinished", 604_800.into())).admitted();
}

#[test]
fn retries_are_capped() {
    developer_sets("/spec/backoffLimit", 5.into()).admitted();
    developer_sets("/spec/backoffLimit", 7.into()).refused(403, "JOB009", "spec.backoffLimit", "at most 6");
}

#[test]
fn width_is_capped() {
    developer_sets("/spec/parallelism", 4.into()).admitted();
    developer_sets("/spec/parallelism", 5.into()).refused(403, "JOB010", "spec.parallelism", "at most 4");
    developer_sets("/spec/completions", 17.into()).refused(403, "JOB010", "spec.completions", "at most 16");
}

#[test]
fn another_job_controller_is_refused() {
    developer_sets("/spec/managedBy", "kubernetes.io/job-controller".into()).admitted();
    developer_sets("/spec/managedBy", "example.dev/mine".into()).refused(
        403,
        "JOB011",
        "spec.managedBy",
        "example.dev/mine",
    );
}

#[test]
fn a_node_is_not_named() {
    developer_sets(&format!("{POD}/nodeName"), "control-plane-1".into()).refused(
        403,
        "JOB012",
        "nodeName",
        "leave it out",
    );
    developer_sets(&format!("{POD}/nodeSelector"), json!({"disk": "ssd"})).admitted();
}

#[test]
fn priority_scheduler_and_runtime_class_are_refused() {
    for (field, rule) in
        [("priorityClassName", "JOB013"), ("schedulerName", "JOB014"), ("runtimeClassName", "JOB015")]
    {
        developer_sets(&format!("{POD}/{field}"), "rogue".into()).refused(403, rule, field, "\"rogue\"");
    }
    developer_sets(&format!("{POD}/schedulerName"), "default-scheduler".into()).admitted();
}

#[test]
fn tolerating_every_taint_is_refused() {
    let at = format!("{POD}/tolerations");
    developer_sets(&at, json!([{"operator": "Exists"}])).refused(
        403,
        "JOB016",
        "tolerations[0]",
        "every taint",
    );
    let usual = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    developer_sets(&at, usual).admitted();
}

#[test]
fn privileged_containers_are_named_wherever_they_hide() {
    let privileged = json!([{"name": "p", "image": "busybox:1.36", "securityContext": {"privileged": true}}]);
    for list in ["containers", "initContainers"] {
        let answer = developer_sets(&format!("{POD}/{list}"), privileged.clone());
        answer.refused(
            403,
            "JOB017",
            &format!("spec.template.spec.{list}[0].securityContext.privileged"),
            "Invalid value: true",
        );
    }
    let sidecar = json!([{"name": "p", "image": "busybox:1.36", "restartPolicy": "Always", "securityContext": {"privileged": true}}]);
    developer_sets(&format!("{POD}/initContainers"), sidecar).refused(403, "JOB017", "initContainers[0]", "");
}

#[test]
fn an_ephemeral_container_that_lies_about_its_run_is_refused() {
    let namespace = managed();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    codex_k8s_tests::eventually("default ServiceAccount", std::time::Duration::from_secs(10), || {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        let read =
            Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
        (read.code == 200).then_some(())
    })
    .unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    create(&Identity::developer(), &pods, &pod).admitted();
    let debug = |run_id: &str| {
        json!({"spec": {"ephemeralContainers":
            [{"name": "debug", "image": "busybox:1.36", "env": [{"name": "CODEXK8S_RUN_ID", "value": run_id}]}]}})
    };
    let path = format!("{pods}/p/ephemeralcontainers");
    let agent = Identity::agent(&namespace);
    patch_at(&agent, path.clone(), STRATEGIC, &debug("another")).refused(
        403,
        "JOB021",
        "spec.ephemeralContainers[0].env[0] (CODEXK8S_RUN_ID)",
        "this run's is",
    );
    let run_id = label(&read_namespace(&namespace), "run-id").to_owned();
    patch_at(&agent, path, STRATEGIC, &debug(&run_id)).admitted();
}

#[test]
fn the_hosts_namespaces_and_ports_are_refused() {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        developer_sets(&format!("{POD}/{field}"), true.into()).refused(
            403,
            "JOB018",
            field,
            "Invalid value: true",
        );
    }
    let port =
        json!([{"name": "c", "image": "busybox:1.36", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    developer_sets(&format!("{POD}/containers"), port).refused(
        403,
        "JOB018",
        "ports[0].hostPort",
        "(found 80)",
    );
}

#[test]
fn host_paths_are_refused_and_empty_dirs_are_not() {
    let at = format!("{POD}/volumes");
    developer_sets(&at, json!([{"name": "v", "hostPath": {"path": "/"}}])).refused(
        403,
        "JOB019",
        "volumes[0].hostPath",
        "Invalid value: \"/\"",
    );
    developer_sets(&at, json!([{"name": "v", "emptyDir": {}}])).admitted();
}

#[test]
fn volumes_of_types_that_the_policy_does_not_list_are_refused() {
    let at = format!("{POD}/volumes");
    for (kind, source) in [
        ("flexVolume", json!({"driver": "example.dev/any"})),
        ("nfs", json!({"server": "10.0.0.1", "path": "/"})),
        ("iscsi", json!({"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:a", "lun": 0})),
    ] {
        let volumes = json!([{"name": "v", kind: source}]);
        developer_sets(&at, volumes).refused(403, "JOB019", &format!("volumes[0].{kind}"), "jobs.volumes");
    }
    for source in [
        json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}),
        json!({"name": "v", "csi": {"driver": "example.dev"}}),
        json!({"name": "v", "image": {"reference": "busybox:1.36"}}),
        json!({"name": "v"}),
    ] {
        developer_sets(&at, json!([source])).admitted();
    }
}

/// Pod Security would refuse such Pods in a run namespace; in a slot, only the rules do.
#[test]
fn in_a_slot_too_selinux_options_and_hosts_of_probes_are_refused() {
    let slot = slot();
    let container = |field: &str, value: Value| {
        let mut container = json!({"name": "c", "image": "busybox:1.36"});
        container[field] = value;
        with(job("j"), &format!("{POD}/containers"), json!([container]))
    };
    let selinux = |options: Value| container("securityContext", json!({"seLinuxOptions": options}));
    let get = json!({"httpGet": {"host": "169.254.169.254", "port": 80}});
    for (object, rule, field) in [
        (selinux(json!({"type": "spc_t"})), "JOB020", "securityContext.seLinuxOptions.type"),
        (selinux(json!({"user": "system_u"})), "JOB020", "securityContext.seLinuxOptions.user"),
        (selinux(json!({"role": "system_r"})), "JOB020", "securityContext.seLinuxOptions.role"),
        (container("livenessProbe", get.clone()), "JOB018", "livenessProbe.httpGet.host"),
        (
            container("readinessProbe", json!({"tcpSocket": {"host": "10.0.0.1", "port": 80}})),
            "JOB018",
            "readinessProbe.tcpSocket.host",
        ),
        (container("lifecycle", json!({"preStop": get})), "JOB018", "lifecycle.preStop.httpGet.host"),
    ] {
        create(&Identity::agent(&slot), &jobs(&slot), &object).refused(403, rule, field, "");
    }
    let pod = with(job("j"), &format!("{POD}/securityContext"), json!({"seLinuxOptions": {"type": "spc_t"}}));
    create(&Identity::agent(&slot), &jobs(&slot), &pod).refused(
        403,
        "JOB020",
        "spec.template.spec.securityContext.seLinuxOptions.type",
        "must be container_t or",
    );
    let stored = Send { identity: &Identity::Admin, method: "GET", path: jobs(&slot), content_type: JSON };
    assert_eq!(stored.body(&Value::Null).admitted()["items"], json!([]));
    let fine = selinux(json!({"type": "container_t", "level": "s0:c1,c2"}));
    create(&Identity::agent(&slot), &jobs(&slot), &fine).admitted();
}

#[test]
fn capabilities_and_unconfined_profiles_are_refused() {
    let container =
        |security: Value| json!([{"name": "c", "image": "busybox:1.36", "securityContext": security}]);
    let at = format!("{POD}/containers");
    developer_sets(&at, container(json!({"capabilities": {"add": ["SYS_ADMIN"]}}))).refused(
        403,
        "JOB020",
        "capabilities.add[0]",
        "SYS_ADMIN",
    );
    developer_sets(&at, container(json!({"seccompProfile": {"type": "Unconfined"}}))).refused(
        403,
        "JOB020",
        "seccompProfile.type",
        "",
    );
    developer_sets(&at, container(json!({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}))).admitted();
}

#[test]
fn run_metadata_that_lies_is_refused() {
    for (name, value) in [
        ("CODEXK8S_RUN_ID", "another"),
        ("CODEXK8S_RUNTIME_MODE", "code-only"),
        ("CODEXK8S_PROJECT_ID", "another"),
    ] {
        let env = json!([{"name": "c", "image": "busybox:1.36", "env": [{"name": name, "value": value}]}]);
        let answer = developer_sets(&format!("{POD}/containers"), env);
        answer.refused(403, "JOB021", &format!("env[0] ({name})"), "this run's is");
    }
    let reference = json!([{"name": "c", "image": "busybox:1.36", "env":
        [{"name": "CODEXK8S_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]);
    developer_sets(&format!("{POD}/containers"), reference).refused(403, "JOB021", "env[0]", "a reference");
}

#[test]
fn literal_secrets_are_warned_about_and_admitted() {
    let namespace = managed();
    let mut secret = job("j");
    secret["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "CODEXK8S_OPENAI_API_KEY", "value": "x"}]);
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let ran = kubectl.run_with_input(&["create", "-n", &namespace, "-f", "-"], &secret.to_string()).unwrap();
    assert!(ran.succeeded(), "{ran}");
    assert!(
        ran.stderr.contains("Warning: JOB022: ") && ran.stderr.contains("CODEXK8S_OPENAI_API_KEY"),
        "{ran}"
    );
}

#[test]
fn a_cron_jobs_template_is_mutated_and_evaluated_like_a_job() {
    let namespace = managed();
    let path = format!("/apis/batch/v1/namespaces/{namespace}/cronjobs");
    let cron = |job: &Value| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job["spec"]}}})
    };
    let bad = with(job("x"), &format!("{POD}/hostNetwork"), true.into());
    create(&Identity::agent(&namespace), &path, &cron(&bad)).refused(
        403,
        "JOB018",
        "spec.jobTemplate.spec.template.spec.hostNetwork",
        "",
    );
    let stored = create(&Identity::agent(&namespace), &path, &cron(&job("x"))).admitted();
    let template = &stored["spec"]["jobTemplate"];
    assert_eq!(template["spec"]["activeDeadlineSeconds"], 900);
    assert_ne!(template["metadata"]["labels"]["codex-k8s.dev/run-id"], Value::Null);
    assert_eq!(template["spec"]["template"]["spec"]["serviceAccountName"], "codex-runner");
}

#[test]
fn a_deployments_template_is_evaluated_too() {
    let namespace = managed();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let deployment = |spec: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}})
    };
    let containers = json!([{"name": "c", "image": "busybox:1.36"}]);
    let bad = deployment(json!({"serviceAccountName": "codex-k8s-control-plane", "containers": containers}));
    create(&Identity::agent(&namespace), &path, &bad).refused(
        403,
        "JOB004",
        "spec.template.spec.serviceAccountName",
        "",
    );
    create(&Identity::agent(&namespace), &path, &deployment(json!({"containers": containers}))).admitted();
}

#[test]
fn a_suspended_job_is_not_edited_into_something_else() {
    let namespace = managed();
    let suspended = with(job("later"), "/spec/suspend", true.into());
    create(&Identity::agent(&namespace), &jobs(&namespace), &suspended).admitted();
    let path = format!("{}/later", jobs(&namespace));
    for (patch, rule, field) in [
        (
            json!({"spec": {"template": {"metadata": {"labels": {"codex-k8s.dev/run-id": "another"}}}}}),
            "JOB001",
            "run-id",
        ),
        (
            json!({"spec": {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}}),
            "JOB016",
            "tolerations",
        ),
        (json!({"spec": {"activeDeadlineSeconds": 99_999}}), "JOB007", "activeDeadlineSeconds"),
        (json!({"spec": {"parallelism": 50}}), "JOB010", "parallelism"),
    ] {
        patch_at(&Identity::agent(&namespace), path.clone(), STRATEGIC, &patch).refused(403, rule, field, "");
    }
    patch_at(&Identity::agent(&namespace), path, STRATEGIC, &json!({"spec": {"suspend": false}})).admitted();
}

#[test]
fn outside_managed_namespaces_nothing_is_touched() {
    let namespace = unmanaged();
    let rough =
        with(with(job("j"), &format!("{POD}/hostNetwork"), true.into()), "/spec/parallelism", 99.into());
    let stored = create(&Identity::developer(), &jobs(&namespace), &rough).admitted();
    assert_eq!(label(&stored, "run-id"), "");
    assert_eq!(stored["spec"]["parallelism"], 99);
}
