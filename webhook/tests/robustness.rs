//! Checks that the handler answers every body: with the request's own uid, or with an error that it is not a review.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::engine::Engine;
use codex_k8s_webhook::metrics::Metrics;
use codex_k8s_webhook::server::{Limits, handler};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use support::{NAMESPACE, OneNamespace, RUN_ID, WORKER, any_json};

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// The handler with its real engine, and a runtime.
struct Webhook {
    runtime: tokio::runtime::Runtime,
    router: Router,
    metrics: Arc<Metrics>,
}

impl Webhook {
    fn new() -> Self {
        let metrics = Arc::<Metrics>::default();
        let engine = Engine::new(RunPolicy::default(), OneNamespace, Arc::clone(&metrics));
        let router = handler::router(
            Arc::new(engine),
            Arc::clone(&metrics),
            &Limits::default(),
            CancellationToken::new(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, router, metrics }
    }

    fn post(&self, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request =
            Request::post(path).header(CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
        })
    }

    /// Sends a body to both paths. Either it is not a review, or the answer is complete and has its uid.
    #[track_caller]
    fn answers(&self, body: &[u8]) -> Vec<StatusCode> {
        let review = serde_json::from_slice::<Value>(body).unwrap_or_default();
        self.answers_to(review.pointer("/request/uid").and_then(Value::as_str), body)
    }

    #[track_caller]
    fn answers_to(&self, uid: Option<&str>, body: &[u8]) -> Vec<StatusCode> {
        let statuses = ["/mutate", "/validate"].map(|path| {
            let (status, answer) = self.post(path, body.to_vec());
            if status == StatusCode::OK {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert_eq!(answer["response"]["uid"].as_str(), uid);
                assert_eq!(
                    answer["response"]["allowed"].as_bool(),
                    Some(answer["response"]["status"].is_null())
                );
                assert_eq!(answer["response"]["patch"].is_null(), answer["response"]["patchType"].is_null());
            } else {
                assert!(status.is_client_error(), "{status}");
                assert!(!answer.is_empty(), "{status} says why");
            }
            status
        });
        assert_eq!(self.metrics.panics.get(), 0, "{}", String::from_utf8_lossy(body));
        statuses.to_vec()
    }
}

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "tests", "namespace": NAMESPACE, "labels": {"codex-k8s.dev/run-id": RUN_ID},
            "annotations": {"codex-k8s.dev/correlation-id": "c"}, "finalizers": [], "ownerReferences": []},
        "spec": {"activeDeadlineSeconds": 60, "backoffLimit": 0, "template": {
            "metadata": {"labels": {"codex-k8s.dev/run-id": RUN_ID}},
            "spec": {
                "serviceAccountName": "codex-runner",
                "securityContext": {"sysctls": [], "seccompProfile": {"type": "RuntimeDefault"}},
                "tolerations": [{"key": "k", "effect": "NoSchedule"}],
                "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
                "containers": [{"name": "c", "image": "i", "env": [{"name": "CODEXK8S_RUN_ID", "value": RUN_ID}],
                    "ports": [{"containerPort": 80}], "securityContext": {"capabilities": {"add": ["CHOWN"]}}}],
            },
        }},
    })
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"},
            "annotations": {"codex-k8s.dev/namespace-lease-ttl": "24h0m0s"}, "finalizers": [], "ownerReferences": []},
        "spec": {"finalizers": ["kubernetes"]},
    })
}

fn role() -> Value {
    json!({
        "metadata": {"name": "codex-runner", "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"], "verbs": ["get"]},
            {"nonResourceURLs": ["/"], "verbs": ["get"]}],
    })
}

fn binding() -> Value {
    json!({
        "metadata": {"name": "codex-runner", "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "codex-runner"},
        "subjects": [{"kind": "ServiceAccount", "name": "codex-runner", "namespace": NAMESPACE},
            {"kind": "Group", "name": "system:serviceaccounts"}, {"kind": "User", "name": "system:serviceaccount:a:b"}],
    })
}

fn token_request() -> Value {
    json!({
        "metadata": {"name": "codex-runner", "namespace": NAMESPACE, "creationTimestamp": null, "labels": {}},
        "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}},
        "status": {"token": "", "expirationTimestamp": null},
    })
}

fn review(group: &str, kind: &str, operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": {"group": group, "version": "v1", "kind": kind},
            "subResource": "",
            "name": object.pointer("/metadata/name"),
            "namespace": NAMESPACE,
            "operation": operation,
            "userInfo": {"username": WORKER, "groups": ["system:authenticated"], "extra": {"k": ["v"]}},
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": {"kind": "CreateOptions"},
        },
    })
}

fn reviews() -> Vec<Value> {
    vec![
        review("batch", "Job", "CREATE", &job(), &Value::Null),
        review("batch", "Job", "UPDATE", &job(), &job()),
        review("", "Namespace", "CREATE", &namespace(), &Value::Null),
        review("", "Namespace", "UPDATE", &namespace(), &namespace()),
        review("", "Namespace", "DELETE", &Value::Null, &namespace()),
        review("rbac.authorization.k8s.io", "Role", "UPDATE", &role(), &role()),
        review("rbac.authorization.k8s.io", "RoleBinding", "CREATE", &binding(), &Value::Null),
        review("rbac.authorization.k8s.io", "RoleBinding", "DELETE", &Value::Null, &binding()),
        review("authentication.k8s.io", "TokenRequest", "CREATE", &token_request(), &Value::Null),
    ]
}

/// Collects every position in a value as a JSON pointer.
fn occupancy(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| occupancy(value, &format!("{at}/{}", escape(key)), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| occupancy(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn nulls_and_values_of_the_wrong_type_in_every_field_are_answered() {
    let webhook = Webhook::new();
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!("\u{0}"),
        json!([]),
        json!([null]),
        json!({}),
    ];
    for review in reviews() {
        let mut found = Vec::new();
        occupancy(&review, "", &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for spot in found {
            for wrong in &wrong {
                let mut broken = review.clone();
                *broken.pointer_mut(&spot).unwrap() = wrong.clone();
                webhook.answers(&serde_json::to_vec(&broken).unwrap());
            }
        }
    }
}

#[test]
fn a_review_that_is_cut_off_anywhere_is_a_bad_request() {
    let webhook = Webhook::new();
    for review in reviews() {
        let whole = serde_json::to_vec(&review).unwrap();
        assert_eq!(webhook.answers(&whole), [StatusCode::OK; 2]);
        for length in 0..whole.len() {
            assert_eq!(webhook.answers(&whole[..length]), [StatusCode::BAD_REQUEST; 2], "cut at {length}");
        }
    }
}

#[test]
fn objects_that_are_huge_or_deep_are_answered() {
    let webhook = Webhook::new();
    let mut huge = Vec::new();
    let mut wide = job();
    wide["spec"]["template"]["spec"]["containers"] =
        (0..20_000).map(|index| json!({"name": format!("c{index}"), "image": "i"})).collect();
    huge.push(wide);
    let mut labelled = job();
    for index in 0..40_000 {
        labelled["metadata"]["labels"][format!("codex-k8s.dev/k{index}")] = "v".into();
    }
    huge.push(labelled);
    let mut long = job();
    long["metadata"]["labels"]["codex-k8s.dev/run-id"] = "x".repeat(7 << 20).into();
    huge.push(long);
    for object in &huge {
        let body = serde_json::to_vec(&review("batch", "Job", "CREATE", object, &Value::Null)).unwrap();
        assert_eq!(webhook.answers(&body), [StatusCode::OK; 2], "{} bytes", body.len());
    }
    for (open, close) in [("[", "]"), (r#"{"metadata":"#, "}")] {
        let deep = format!("{}0{}", open.repeat(100_000), close.repeat(100_000));
        let body =
            serde_json::to_string(&review("batch", "Job", "CREATE", &json!("DEEP"), &Value::Null)).unwrap();
        let statuses = webhook.answers_to(Some(UID), body.replace("\"DEEP\"", &deep).as_bytes());
        assert_eq!(statuses, [StatusCode::OK; 2], "refused, with the uid");
    }
}

#[test]
fn a_review_with_a_field_twice_is_a_bad_request() {
    let webhook = Webhook::new();
    let body = serde_json::to_string(&reviews()[0]).unwrap();
    let uid = format!(r#""uid":"{UID}""#);
    let twice = body.replace(&uid, &format!(r#"{uid},"uid":"another""#));
    assert_eq!(webhook.answers(twice.as_bytes()), [StatusCode::BAD_REQUEST; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..512)) {
        Webhook::new().answers(&body);
    }

    #[test]
    fn any_json_is_answered(body in any_json()) {
        Webhook::new().answers(&serde_json::to_vec(&body).unwrap());
    }

    #[test]
    fn any_object_is_answered(
        object in any_json(), old in any_json(), uid in ".{1,40}",
        kind in prop::sample::select(vec![("", "Namespace"), ("batch", "Job"), ("batch", "CronJob"), ("", "Pod"), ("apps", "Deployment"), ("", "ServiceAccount"), ("rbac.authorization.k8s.io", "ClusterRoleBinding"), ("", "ResourceQuota"), ("", "Secret")]),
        operation in prop::sample::select(vec!["CREATE", "UPDATE", "DELETE", "CONNECT"]),
    ) {
        let mut review = review(kind.0, kind.1, operation, &object, &old);
        review["request"]["uid"] = uid.into();
        Webhook::new().answers(&serde_json::to_vec(&review).unwrap());
    }
}
