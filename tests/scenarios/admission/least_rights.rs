//! Rights as an installation has them, and attempts to get more: refused by a rule, and by nothing else.

use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::{Answer, Caller, Guard, Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{playground, unique};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// The rules about rights and results.
const RULES: [&str; 10] = [
    "RBAC001",
    "RBAC002",
    "RBAC003",
    "SECRET001",
    "TOKEN001",
    "TOKEN002",
    "JOB004",
    "JOB019",
    "JOB025",
    "BASE001",
];

/// Requests to a guarded cluster.
struct At<'a>(&'a Guard);

impl At<'_> {
    fn send(&self, identity: &Identity, method: Method, path: &str, body: &Value) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let caller = Caller::new(&self.0.control_plane, identity).await.unwrap();
            caller.send(method, path, body).await.unwrap()
        })
    }

    #[track_caller]
    fn done(&self, identity: &Identity, method: Method, path: &str, body: &Value) -> Value {
        self.send(identity, method, path, body).object().unwrap()
    }

    /// A run namespace with its gate open.
    #[track_caller]
    fn ready_namespace(&self) -> String {
        let name = format!("codex-issue-{}", unique());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.done(&Identity::developer(), Method::POST, "/api/v1/namespaces", &object);
        let path = format!("/api/v1/namespaces/{name}");
        eventually("the gate is open", Duration::from_mins(1), || {
            let namespace = self.done(&Identity::Admin, Method::GET, &path, &Value::Null);
            namespace
                .pointer("/metadata/annotations/codex-k8s.dev~1baseline-ready-at")
                .is_some()
                .then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.0.control_plane.log_tail("reconcile")));
        name
    }
}

fn installed() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_as_installed(playground()).unwrap())
}

/// An attempt to get more rights than one has, or to forge the result of a run.
struct Attempt {
    rule: &'static str,
    identity: Identity,
    method: Method,
    path: String,
    body: Value,
}

fn attempts(namespace: &str) -> Vec<Attempt> {
    let (core, rbac) = (format!("/api/v1/namespaces/{namespace}"), format!("{RBAC}/namespaces/{namespace}"));
    let metadata = || json!({"name": format!("more-{}", unique())});
    let agent = || Identity::agent(namespace);
    let bound = json!([{"kind": "ServiceAccount", "name": "codex-runner", "namespace": namespace}]);
    let role =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let create =
        |rule, path: String, body| Attempt { rule, identity: agent(), method: Method::POST, path, body };
    let pod = |spec: Value| json!({"metadata": metadata(), "spec": spec});
    let containers = json!([{"name": "c", "image": "busybox:1.36",
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}}}]);
    let secret = json!({"name": format!("t-{}", unique()), "annotations": {"kubernetes.io/service-account.name": "codex-runner"}});
    let token =
        |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    vec![
        create(
            "RBAC001",
            format!("{rbac}/roles"),
            json!({"metadata": metadata(),
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
        ),
        create(
            "RBAC002",
            format!("{rbac}/rolebindings"),
            json!({"metadata": metadata(), "roleRef": role("admin"), "subjects": bound}),
        ),
        create(
            "RBAC003",
            format!("{RBAC}/clusterrolebindings"),
            json!({"metadata": metadata(), "roleRef": role("cluster-admin"), "subjects": bound}),
        ),
        create(
            "SECRET001",
            format!("{core}/secrets"),
            json!({"metadata": secret, "type": "kubernetes.io/service-account-token"}),
        ),
        create(
            "TOKEN001",
            format!("{core}/serviceaccounts/codex-runner/token"),
            token(json!({"audiences": ["vault"]})),
        ),
        create("TOKEN002", format!("{core}/serviceaccounts/stronger/token"), token(json!({}))),
        create(
            "JOB004",
            format!("{core}/pods"),
            pod(json!({"serviceAccountName": "stronger", "containers": containers})),
        ),
        create(
            "JOB019",
            format!("{core}/pods"),
            pod(json!({"serviceAccountName": "codex-runner", "containers": containers,
            "volumes": [{"name": "v", "flexVolume": {"driver": "example.dev/any"}}]})),
        ),
        Attempt {
            rule: "JOB025",
            identity: agent(),
            method: Method::PATCH,
            path: format!("/apis/batch/v1/namespaces/{namespace}/jobs/work/status"),
            body: json!({"status": {"ready": 1}}),
        },
        Attempt {
            rule: "BASE001",
            identity: agent(),
            method: Method::PATCH,
            path: format!("{core}/resourcequotas/codex-run-quota"),
            body: json!({"spec": {"hard": {"pods": "1000"}}}),
        },
    ]
}

/// RBAC allows all of it: each refusal is by the named rule, and without that rule the request succeeds.
fn outcomes(at: &At<'_>) -> Vec<(&'static str, Answer)> {
    let namespace = at.ready_namespace();
    let account = json!({"metadata": {"name": "stronger"}});
    at.done(
        &Identity::worker(),
        Method::POST,
        &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        &account,
    );
    let job = json!({"metadata": {"name": "work"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    at.done(&Identity::agent(&namespace), Method::POST, &jobs, &job);
    eventually("the Job controller has begun", Duration::from_secs(30), || {
        let status = at.done(&Identity::Admin, Method::GET, &format!("{jobs}/work"), &Value::Null);
        (status["status"]["active"] == 1).then_some(())
    })
    .unwrap();
    let attempts = attempts(&namespace).into_iter();
    attempts.map(|it| (it.rule, at.send(&it.identity, it.method, &it.path, &it.body))).collect()
}

#[test]
fn each_attempt_on_rights_is_refused_by_its_rule_and_by_nothing_else() {
    let off: Vec<_> = RULES.iter().map(|rule| format!("{rule}: \"off\"")).collect();
    let guard = Guard::start_with_policy(playground(), "").unwrap();
    for (rule, answer) in outcomes(&At(&guard)) {
        let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
        let rules: Vec<_> = causes.iter().map(|cause| cause["reason"].as_str().unwrap_or_default()).collect();
        assert!(answer.code == 403 && rules.contains(&rule), "{rule}: {answer:?}");
    }
    drop(guard);
    let guard = Guard::start_with_policy(playground(), &format!("rules: {{{}}}\n", off.join(", "))).unwrap();
    let outcomes = outcomes(&At(&guard));
    assert_eq!(outcomes.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), RULES);
    for (rule, answer) in outcomes {
        assert!(answer.is_ok(), "with {rule} off and every right of RBAC: {answer:?}");
    }
}

#[test]
fn an_installation_does_its_work_with_the_rights_of_the_chart_and_of_the_platform() {
    let at = At(installed());
    let namespace = at.ready_namespace();
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let job = json!({"metadata": {"name": "run"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    at.done(&Identity::worker(), Method::POST, &jobs, &job);
    let read = at.done(&Identity::agent(&namespace), Method::GET, &jobs, &Value::Null);
    assert_eq!(read.pointer("/items/0/metadata/name"), Some(&json!("run")));
}

#[test]
fn in_an_installation_service_accounts_have_no_more_rights_than_they_are_given() {
    let at = At(installed());
    let namespace = at.ready_namespace();
    let elsewhere = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("payments-{}", unique())}});
    let other = elsewhere["metadata"]["name"].as_str().unwrap();
    at.done(&Identity::developer(), Method::POST, "/api/v1/namespaces", &elsewhere);
    let role = json!({"metadata": {"name": "codex-runner"}, "rules": []});
    let account = json!({"metadata": {"name": "codex-runner"}});
    let ours = json!({"metadata": {"name": "codex-k8s-guard-x"}});
    let guard = "codex-k8s-guard";
    let refused = |identity: &Identity, method: Method, path: &str, body: &Value, words: &str| {
        let answer = at.send(identity, method, path, body);
        assert!(answer.code == 403 && answer.message().contains(words), "{path}: {answer:?}");
    };
    let agent = Identity::agent(&namespace);
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    refused(&agent, Method::POST, &pods, &account, "cannot create resource \"pods\"");
    refused(
        &agent,
        Method::GET,
        &format!("/api/v1/namespaces/{namespace}/secrets"),
        &Value::Null,
        "cannot list",
    );
    refused(&agent, Method::POST, "/api/v1/namespaces", &elsewhere, "cannot create resource \"namespaces\"");
    let reconciler = Identity::reconciler();
    let roles = format!("{RBAC}/namespaces/{other}/roles");
    refused(&reconciler, Method::POST, &roles, &role, "ValidatingAdmissionPolicy 'codex-k8s-reconcile'");
    let accounts = format!("/api/v1/namespaces/{other}/serviceaccounts");
    refused(
        &reconciler,
        Method::POST,
        &accounts,
        &account,
        "ValidatingAdmissionPolicy 'codex-k8s-reconcile'",
    );
    let collected = format!("/api/v1/namespaces/{other}");
    refused(
        &Identity::collector(),
        Method::DELETE,
        &collected,
        &Value::Null,
        "ValidatingAdmissionPolicy 'codex-k8s-gc'",
    );
    refused(&Identity::collector(), Method::POST, "/api/v1/namespaces", &ours, "cannot create");
    let serving = Identity::service_account(guard, "codex-k8s-webhook");
    refused(&serving, Method::POST, &format!("/api/v1/namespaces/{guard}/secrets"), &ours, "cannot create");
    for path in [&collected, &format!("/api/v1/namespaces/{namespace}")] {
        assert_eq!(at.done(&Identity::Admin, Method::GET, path, &Value::Null)["status"]["phase"], "Active");
    }
    for path in [&roles, &accounts] {
        let items = at.done(&Identity::Admin, Method::GET, path, &Value::Null)["items"].to_string();
        assert!(!items.contains("codex-runner"), "{items}");
    }
}
