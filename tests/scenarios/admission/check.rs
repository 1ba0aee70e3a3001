//! The offline check gives the verdict of the webhook behind a real API server, word for word.

use codex_k8s_shared::policy::{API_VERSION, KIND, RunPolicy};
use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Answer, Caller, Identity};
use codex_k8s_webhook::check::{Asked, Checker, Document, Judgement, Requester, Verdict};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{guard, managed, read_namespace, unique};

/// Where the Pod of a kind stands in it, and where it is created.
const KINDS: [(&str, &str, &str, &str); 4] = [
    ("batch/v1", "Job", "/spec/template", "/apis/batch/v1/namespaces/{}/jobs"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template", "/apis/batch/v1/namespaces/{}/cronjobs"),
    ("apps/v1", "Deployment", "/spec/template", "/apis/apps/v1/namespaces/{}/deployments"),
    ("v1", "Pod", "", "/api/v1/namespaces/{}/pods"),
];

/// What is set in the Pod's spec.
fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/nothing", Value::Null),
        ("/spec/hostNetwork", true.into()),
        ("/spec/hostPID", true.into()),
        ("/spec/hostIPC", true.into()),
        ("/spec/serviceAccountName", "codex-runner".into()),
        ("/spec/serviceAccountName", "codex-k8s-control-plane".into()),
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

fn object(kind: &(&str, &str, &str, &str), name: &str, change: &(&str, Value)) -> Value {
    let mut pod = json!({"metadata": {"labels": {"app": "a"}}, "spec": {
        "restartPolicy": if kind.1 == "Deployment" { "Always" } else { "Never" },
        "containers": [{"name": "c", "image": "busybox:1.36"}]}});
    if !change.1.is_null() {
        let (parent, key) = change.0.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = change.1.clone();
    }
    let mut object = match kind.1 {
        "Job" => json!({"spec": {"template": pod}}),
        "CronJob" => json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": pod}}}}),
        "Deployment" => json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": pod}}),
        _ => pod,
    };
    (object["apiVersion"], object["kind"]) = (kind.0.into(), kind.1.into());
    object["metadata"]["name"] = name.into();
    object
}

/// A namespace by name and, perhaps, some of its keys.
fn namespaces() -> Vec<Value> {
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

/// An identity, and its name in a review.
fn identities(namespace: &str) -> [(Identity, Requester); 3] {
    let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let requester = |user: String, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Requester { user, groups }
    };
    [
        (Identity::developer(), requester("jane".to_owned(), &["every-right"])),
        (Identity::agent(namespace), requester("agent".to_owned(), &[])),
        (Identity::worker(), requester(account("codex-k8s-ai-staging", "codex-k8s-worker"), &[])),
    ]
}

struct Comparison {
    policy: RunPolicy,
    namespace: Document,
    compared: usize,
    refused: usize,
    /// What the API server itself refuses, before or beside us.
    elsewhere: usize,
    disagreements: Vec<String>,
}

impl Comparison {
    fn new(namespace: &str) -> Self {
        let policy = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{WITHOUT_QUOTAS}");
        let mut namespace = read_namespace(namespace);
        (namespace["apiVersion"], namespace["kind"]) = ("v1".into(), "Namespace".into());
        Self {
            policy: RunPolicy::from_yaml(&policy).unwrap(),
            namespace: Document::of_nowhere(namespace),
            compared: 0,
            refused: 0,
            elsewhere: 0,
            disagreements: Vec::new(),
        }
    }

    async fn judge(&self, requester: &Requester, object: &Value) -> Judgement {
        let name = self.namespace.name().to_owned();
        let asked = Asked { default_namespace: name, ..Asked::creation(requester.clone()) };
        let mut checker = Checker::new(self.policy.clone(), asked);
        checker.assume(std::slice::from_ref(&self.namespace));
        let judged = checker.judge_all(&[Document::of_nowhere(object.clone())]).await.unwrap();
        judged.into_iter().next().unwrap()
    }

    fn compare(&mut self, object: &Value, judged: &Judgement, answer: &Answer) {
        let denial = answer.message().split_once("denied the request: ").map(|(_, message)| message);
        if !answer.is_ok() && denial.is_none() {
            self.elsewhere += 1;
            return;
        }
        self.compared += 1;
        self.refused += usize::from(denial.is_some());
        let mut wrong = Vec::new();
        if judged.message.as_deref() != denial {
            wrong.push(format!("  offline {:?}\n  server  {denial:?}", judged.message));
        }
        let told = |warning: &String| answer.warnings.iter().any(|header| header.contains(&quoted(warning)));
        if !judged.warnings.iter().all(told) {
            wrong.push(format!(
                "  offline warns {:?}\n  server  warns {:?}",
                judged.warnings, answer.warnings
            ));
        }
        if judged.result != Verdict::Denied {
            wrong.extend(judged.patch.0.iter().filter_map(|operation| differs(operation, &answer.body)));
        }
        self.disagreements.extend(wrong.into_iter().map(|wrong| format!("{object}\n{wrong}")));
    }
}

/// As a warning stands in its header.
fn quoted(warning: &str) -> String {
    warning.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What is set offline is in what the server would store: but for the times of the lease, which go on.
fn differs(operation: &json_patch::PatchOperation, stored: &Value) -> Option<String> {
    let operation = serde_json::to_value(operation).unwrap();
    let path = operation["path"].as_str()?;
    let wanted = operation.get("value").filter(|_| operation["op"] != "test" && !path.contains("-at"))?;
    let found = stored.pointer(path)?;
    let is_list_or_map = wanted.is_object() || wanted.is_array();
    (!is_list_or_map && found != wanted).then(|| format!("  offline {path}: {wanted}\n  server  {found}"))
}

#[test]
fn files_are_judged_as_the_api_server_would_have_it_word_for_word() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let namespace = managed();
    let mut comparison = Comparison::new(&namespace);
    runtime.block_on(async {
        for (identity, requester) in identities(&namespace) {
            let caller = Caller::new(&guard().control_plane, &identity).await.unwrap();
            let workloads = KINDS.iter().flat_map(|kind| {
                let all = changes().into_iter();
                all.map(|change| (object(kind, "j", &change), kind.3.replace("{}", &namespace)))
            });
            let namespaces = namespaces().into_iter().map(|object| (object, "/api/v1/namespaces".to_owned()));
            for (object, path) in workloads.chain(namespaces) {
                let judged = comparison.judge(&requester, &object).await;
                let path = format!("{path}?dryRun=All");
                let answer = caller.send(Method::POST, &path, &object).await.unwrap();
                comparison.compare(&object, &judged, &answer);
            }
        }
    });
    let Comparison { compared, refused, elsewhere, disagreements, .. } = comparison;
    let told = format!("{compared} compared, {refused} refused, {elsewhere} refused elsewhere");
    assert!(
        disagreements.is_empty(),
        "{told}; {} disagree:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );
    assert!(compared > 400 && refused > 150 && elsewhere < compared / 5, "{told}");
}
