//! The offline check gives the verdict of the webhook behind a real API server, word for word.

use codex_k8s_shared::policy::{API_VERSION, KIND, RunPolicy};
use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Answer, Caller, Identity};
use codex_k8s_webhook::check::{Asked, Checker, Document, Judgement, Requester, Verdict};
use codex_k8s_webhook::review::Operation;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{guard, managed, read_namespace, unique};

/// Where the Pod of a kind stands in it, and where it is created.
const KINDS: [(&str, &str, &str, &str); 8] = [
    ("batch/v1", "Job", "/spec/template", "/apis/batch/v1/namespaces/{}/jobs"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template", "/apis/batch/v1/namespaces/{}/cronjobs"),
    ("apps/v1", "Deployment", "/spec/template", "/apis/apps/v1/namespaces/{}/deployments"),
    ("apps/v1", "ReplicaSet", "/spec/template", "/apis/apps/v1/namespaces/{}/replicasets"),
    ("apps/v1", "StatefulSet", "/spec/template", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("apps/v1", "DaemonSet", "/spec/template", "/apis/apps/v1/namespaces/{}/daemonsets"),
    ("v1", "ReplicationController", "/spec/template", "/api/v1/namespaces/{}/replicationcontrollers"),
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
fn sets_of_changes() -> Vec<Vec<(&'static str, Value)>> {
    let all = changes();
    let alone = all.iter().map(|change| vec![change.clone()]);
    let pairs =
        all.iter().zip(all.iter().cycle().skip(2)).map(|(one, other)| vec![one.clone(), other.clone()]);
    alone.chain(pairs).collect()
}

fn object(kind: &(&str, &str, &str, &str), name: &str, changes: &[(&str, Value)]) -> Value {
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

fn set(object: &mut Value, changes: &[(&str, Value)]) {
    for (path, value) in changes.iter().filter(|(_, value)| !value.is_null()) {
        let (parent, key) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value.clone();
    }
}

/// What is set in a namespace that there is.
fn changes_of_namespaces() -> Vec<(&'static str, Value)> {
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

/// The pointer of a key, written with its slashes escaped.
fn key_of(pointer: &str) -> (&str, String) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    (parent, key.replace("~1", "/"))
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

    async fn judge(
        &self,
        requester: &Requester,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
    ) -> Judgement {
        let name = self.namespace.name().to_owned();
        let asked = Asked { default_namespace: name, operation, ..Asked::creation(requester.clone()) };
        let mut checker = Checker::new(self.policy.clone(), asked);
        checker.assume(std::slice::from_ref(&self.namespace));
        checker.assume(&old.map(|old| Document::of_nowhere(old.clone())).into_iter().collect::<Vec<_>>());
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

/// Objects that there are in the namespace, and where each is.
async fn there(namespace: &str) -> Vec<(Value, String)> {
    let worker = Caller::new(&guard().control_plane, &Identity::worker()).await.unwrap();
    let mut there = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.1 != "Pod") {
        let (path, mut object) = (kind.3.replace("{}", namespace), object(kind, &unique(), &[]));
        match kind.1 {
            "Job" | "CronJob" => object["spec"]["suspend"] = true.into(),
            "DaemonSet" => {}
            _ => object["spec"]["replicas"] = 0.into(),
        }
        let answer = worker.send(Method::POST, &path, &object).await.unwrap();
        assert!(answer.is_ok(), "{}", answer.message());
        let name = answer.body["metadata"]["name"].as_str().unwrap();
        there.push((answer.body.clone(), format!("{path}/{name}")));
    }
    there
}

/// Where an object's Pod template stands in it.
fn template(object: &mut Value) -> &mut Value {
    let kind = KINDS.iter().find(|kind| object["kind"] == kind.1).unwrap();
    object.pointer_mut(kind.2).unwrap()
}

impl Comparison {
    async fn creations(&mut self, caller: &Caller, requester: &Requester) {
        let namespace = self.namespace.name().to_owned();
        let workloads = KINDS.iter().flat_map(|kind| {
            let all = sets_of_changes().into_iter();
            let path = kind.3.replace("{}", &namespace);
            all.map(move |changes| (object(kind, "j", &changes), path.clone()))
        });
        let namespaces = namespaces().into_iter().map(|object| (object, "/api/v1/namespaces".to_owned()));
        for (object, path) in workloads.chain(namespaces) {
            let judged = self.judge(requester, Operation::Create, &object, None).await;
            let answer = caller.send(Method::POST, &format!("{path}?dryRun=All"), &object).await.unwrap();
            self.compare(&object, &judged, &answer);
        }
    }

    async fn updates(&mut self, caller: &Caller, requester: &Requester, there: &[(Value, String)]) {
        for (old, path) in there {
            for change in changes() {
                let mut object = old.clone();
                set(template(&mut object), std::slice::from_ref(&change));
                self.update(caller, requester, &object, old, path).await;
            }
        }
        let old = self.namespace.object.clone();
        let path = format!("/api/v1/namespaces/{}", self.namespace.name());
        for (pointer, value) in changes_of_namespaces() {
            let (mut object, (parent, key)) = (old.clone(), key_of(pointer));
            object.pointer_mut(parent).unwrap()[key] = value;
            self.update(caller, requester, &object, &old, &path).await;
        }
    }

    async fn update(
        &mut self,
        caller: &Caller,
        requester: &Requester,
        object: &Value,
        old: &Value,
        path: &str,
    ) {
        let judged = self.judge(requester, Operation::Update, object, Some(old)).await;
        // Controllers write as well: which version it was is not what is compared.
        let mut sent = object.clone();
        sent["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let answer = caller.send(Method::PUT, &format!("{path}?dryRun=All"), &sent).await.unwrap();
        self.compare(object, &judged, &answer);
    }

    async fn deletions(&mut self, caller: &Caller, requester: &Requester, there: &[(Value, String)]) {
        let namespace = self.namespace.object.clone();
        let path = format!("/api/v1/namespaces/{}", self.namespace.name());
        for (object, path) in there.iter().chain([&(namespace, path)]) {
            let judged = self.judge(requester, Operation::Delete, object, Some(object)).await;
            let options = json!({"dryRun": ["All"], "propagationPolicy": "Background"});
            let answer = caller.send(Method::DELETE, path, &options).await.unwrap();
            self.compare(object, &judged, &answer);
        }
    }
}

#[test]
fn files_are_judged_as_the_api_server_would_have_it_word_for_word() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let namespace = managed();
    let mut comparison = Comparison::new(&namespace);
    runtime.block_on(async {
        let there = there(&namespace).await;
        for (identity, requester) in identities(&namespace) {
            let caller = Caller::new(&guard().control_plane, &identity).await.unwrap();
            comparison.creations(&caller, &requester).await;
            comparison.updates(&caller, &requester, &there).await;
            comparison.deletions(&caller, &requester, &there).await;
        }
    });
    let Comparison { compared, refused, elsewhere, disagreements, .. } = comparison;
    let told = format!("{compared} compared, {refused} refused, {elsewhere} refused elsewhere");
    println!("{told}, {} disagree", disagreements.len());
    assert!(
        disagreements.is_empty(),
        "{told}; {} disagree:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );
    assert!(compared > 1500 && refused > 500 && elsewhere < compared / 4, "{told}");
}
