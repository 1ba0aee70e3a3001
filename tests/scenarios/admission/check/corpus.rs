//! The objects that are compared, and changes to them.

use serde_json::{Value, json};

use crate::harness::unique;

/// Kinds with the path of the Pod in them, and the path that they are created at.
pub(super) const KINDS: [(&str, &str, &str, &str); 8] = [
    ("batch/v1", "Job", "/spec/template", "/apis/batch/v1/namespaces/{}/jobs"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template", "/apis/batch/v1/namespaces/{}/cronjobs"),
    ("apps/v1", "Deployment", "/spec/template", "/apis/apps/v1/namespaces/{}/deployments"),
    ("apps/v1", "ReplicaSet", "/spec/template", "/apis/apps/v1/namespaces/{}/replicasets"),
    ("apps/v1", "StatefulSet", "/spec/template", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("apps/v1", "DaemonSet", "/spec/template", "/apis/apps/v1/namespaces/{}/daemonsets"),
    ("v1", "ReplicationController", "/spec/template", "/api/v1/namespaces/{}/replicationcontrollers"),
    ("v1", "Pod", "", "/api/v1/namespaces/{}/pods"),
];

/// Changes to the Pod's spec.
pub(super) fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/nothing", Value::Null),
        ("/spec/hostNetwork", true.into()),
        ("/spec/hostPID", true.into()),
        ("/spec/hostIPC", true.into()),
        ("/spec/serviceAccountName", "codex-runner".into()),
        ("/spec/serviceAccountName", "codex-k8s-control-plane".into()),
        ("/spec/serviceAccount", "codex-runner".into()),
        ("/spec/serviceAccount", "codex-k8s-control-plane".into()),
        ("/spec/automountServiceAccountToken", false.into()),
        ("/spec/nodeName", "node-1".into()),
        ("/spec/nodeSelector", json!({"disk": "ssd"})),
        ("/spec/nodeSelector", json!({"node-role.kubernetes.io/control-plane": ""})),
        ("/spec/priorityClassName", "system-node-critical".into()),
        ("/spec/schedulerName", "mine".into()),
        ("/spec/tolerations", json!([{"operator": "Exists"}])),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
        ("/spec/volumes", json!([{"name": "v", "secret": {"secretName": "s"}}])),
        ("/spec/volumes", json!([{"name": "v", "emptyDir": {}}])),
        (
            "/spec/volumes",
            json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}}]),
        ),
        ("/spec/securityContext", json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "0"}]})),
        ("/spec/containers/0/securityContext", json!({"privileged": true})),
        ("/spec/containers/0/securityContext", json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
        ("/spec/containers/0/securityContext", json!({"procMount": "Unmasked"})),
        ("/spec/containers/0/ports", json!([{"containerPort": 80, "hostPort": 80}])),
        ("/spec/containers/0/env", json!([{"name": "CODEXK8S_RUN_ID", "value": "another"}])),
        ("/spec/containers/0/env", json!([{"name": "CODEXK8S_OPENAI_API_KEY", "value": "sk-1"}])),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
        ),
        ("/spec/containers/0/envFrom", json!([{"secretRef": {"name": "s"}}])),
        ("/spec/containers/0/resources", json!({"requests": {"cpu": "64"}, "limits": {"cpu": "64"}})),
        ("/spec/containers/0/resources", json!({"limits": {"memory": "1Gi"}})),
        ("/metadata/labels", json!({"app": "a", "codex-k8s.dev/run-id": "another"})),
        ("/metadata/annotations", json!({"codex-k8s.dev/hold": "x"})),
    ]
}

/// Each change alone, and each with another one.
pub(super) fn sets_of_changes() -> Vec<Vec<(&'static str, Value)>> {
    let all = changes();
    let alone = all.iter().map(|change| vec![change.clone()]);
    let pairs =
        all.iter().zip(all.iter().cycle().skip(2)).map(|(one, other)| vec![one.clone(), other.clone()]);
    alone.chain(pairs).collect()
}

pub(super) fn object(kind: &(&str, &str, &str, &str), name: &str, changes: &[(&str, Value)]) -> Value {
    let never = matches!(kind.1, "Job" | "CronJob" | "Pod");
    let mut pod = json!({"metadata": {"labels": {"app": "a"}}, "spec": {
        "restartPolicy": if never { "Never" } else { "Always" },
        "containers": [{"name": "c", "image": "busybox:1.36"}]}});
    set(&mut pod, changes);
    let mut object = match kind.1 {
        "Job" => json!({"spec": {"template": pod}}),
        "CronJob" => json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": pod}}}}),
        "ReplicationController" => json!({"spec": {"selector": {"app": "a"}, "template": pod}}),
        "StatefulSet" => {
            json!({"spec": {"serviceName": "a", "selector": {"matchLabels": {"app": "a"}}, "template": pod}})
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": pod}})
        }
        _ => pod,
    };
    (object["apiVersion"], object["kind"]) = (kind.0.into(), kind.1.into());
    object["metadata"]["name"] = name.into();
    object
}

pub(super) fn set(object: &mut Value, changes: &[(&str, Value)]) {
    for (path, value) in changes.iter().filter(|(_, value)| !value.is_null()) {
        let (parent, key) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value.clone();
    }
}

/// Changes to an existing namespace.
pub(super) fn changes_of_namespaces() -> Vec<(&'static str, Value)> {
    vec![
        ("/metadata/labels/codex-k8s.dev~1managed-by", "helm".into()),
        ("/metadata/labels/codex-k8s.dev~1run-id", "another".into()),
        ("/metadata/labels/codex-k8s.dev~1runtime-mode", "code-only".into()),
        ("/metadata/labels/codex-k8s.dev~1unknown", "x".into()),
        ("/metadata/labels/pod-security.kubernetes.io~1enforce", "privileged".into()),
        ("/metadata/labels/team", "a".into()),
        ("/metadata/annotations/codex-k8s.dev~1namespace-lease-ttl", "10ay".into()),
        ("/metadata/annotations/codex-k8s.dev~1namespace-lease-expires-at", "2999-01-01T00:00:00Z".into()),
        ("/metadata/annotations/codex-k8s.dev~1requested-by", "somebody".into()),
        ("/metadata/annotations/codex-k8s.dev~1hold", "for ever".into()),
        ("/metadata/annotations/codex-k8s.dev~1baseline-ready-at", "2026-01-01T00:00:00Z".into()),
        ("/metadata/annotations/example.org~1note", "x".into()),
        ("/metadata/finalizers", json!(["example.org/mine"])),
    ]
}

/// Splits a pointer into its parent and its key, with the slashes of the key unescaped.
pub(super) fn key_of(pointer: &str) -> (&str, String) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    (parent, key.replace("~1", "/"))
}

/// Namespaces with a name and, perhaps, some of its keys.
pub(super) fn namespaces() -> Vec<Value> {
    let keys = [
        json!({}),
        json!({"labels": {"codex-k8s.dev/run-id": "Not_A_Label"}}),
        json!({"labels": {"codex-k8s.dev/runtime-mode": "half-env"}}),
        json!({"labels": {"codex-k8s.dev/managed-by": "helm"}}),
        json!({"labels": {"codex-k8s.dev/unknown": "x"}}),
        json!({"labels": {"codexk8s.io/managed-by": "x"}}),
        json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}),
        json!({"annotations": {"codex-k8s.dev/namespace-lease-ttl": "10ay"}}),
        json!({"annotations": {"codex-k8s.dev/namespace-lease-ttl": "100000h"}}),
        json!({"annotations": {"codex-k8s.dev/namespace-lease-expires-at": "2999-01-01T00:00:00Z"}}),
        json!({"annotations": {"codex-k8s.dev/requested-by": "somebody"}}),
        json!({"annotations": {"codex-k8s.dev/baseline-ready-at": "2026-01-01T00:00:00Z"}}),
        json!({"annotations": {"codex-k8s.dev/hold": "for ever"}}),
        json!({"finalizers": ["example.org/mine"]}),
    ];
    let prefixes = ["codex-issue", "codex-run", "payments"];
    let all = prefixes.into_iter().flat_map(|prefix| {
        keys.clone().map(|mut metadata| {
            metadata["name"] = format!("{prefix}-{}", unique()).into();
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        })
    });
    all.collect()
}
