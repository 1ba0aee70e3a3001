//! Requests to one guarded cluster that all tests share, and the answers that they must get.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codex_k8s_tests::guard::{WITHOUT_QUOTAS, grant_every_right};
use codex_k8s_tests::{ControlPlane, Guard, Identity, chart, eventually};
use kube::Client;
use serde_json::{Value, json};

use crate::installed::Installed;

pub(crate) const DOMAIN: &str = "codex-k8s.dev";

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

pub(crate) fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_logged(playground(), WITHOUT_QUOTAS).unwrap())
}

/// The cluster under test: a control plane of this machine with our programs next to it; or, if `make test-node` says
/// so, a node on which the chart is installed.
pub(crate) fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    if std::env::var_os("CODEX_K8S_GUARD_ON_NODE").is_none() {
        return &guard().control_plane;
    }
    let installed = INSTALLED.get_or_init(|| {
        let installed = Installed::prepared();
        // First, because our own rules would refuse it later.
        grant_every_right(installed.node.control_plane()).unwrap();
        installed.release("install", &chart::folder(), "1", &format!("policy:\n  {WITHOUT_QUOTAS}"));
        installed
    });
    installed.node.control_plane()
}

/// An answer of the API server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    about: String,
}

impl Answer {
    /// Asserts that it was admitted, and returns the object as it is stored, or would be.
    #[track_caller]
    pub(crate) fn admitted(self) -> Value {
        assert!(
            self.code < 300,
            "expected to be admitted, got {} {}\n{}",
            self.code,
            self.body,
            self.audit()
        );
        self.body
    }

    /// Asserts that it was admitted, and that the object has the labels and annotations that it had before.
    #[track_caller]
    pub(crate) fn restored(self, before: &Value) {
        let after = self.admitted();
        for field in ["labels", "annotations"] {
            assert_eq!(after["metadata"][field], before["metadata"][field], "{field}");
        }
    }

    /// Asserts that it was refused with this status, by this rule, for this field, with these words in the message.
    #[track_caller]
    pub(crate) fn refused(self, code: u16, rule: &str, field: &str, words: &str) {
        let causes =
            self.body.pointer("/details/causes").and_then(Value::as_array).cloned().unwrap_or_default();
        let named = causes.iter().any(|cause| {
            cause["reason"] == rule
                && cause["field"].as_str().is_some_and(|found| found.contains(field))
                && cause["message"].as_str().is_some_and(|message| message.contains(words))
        });
        assert!(
            self.code == code && named,
            "expected {code} by {rule} for {field} with {words:?}, got {} {}\n{}",
            self.code,
            self.body,
            self.audit()
        );
    }

    fn audit(&self) -> String {
        cluster().audit_about(&self.about)
    }
}

/// One way to send a request.
pub(crate) struct Send<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

impl Send<'_> {
    #[track_caller]
    pub(crate) fn body(self, body: &Value) -> Answer {
        send(cluster(), &self, body)
    }
}

pub(crate) fn send(cluster: &ControlPlane, send: &Send<'_>, body: &Value) -> Answer {
    let about = body.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let about = about.unwrap_or_else(|| send.path.split('/').nth(4).unwrap_or_default().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let client: Client = cluster.client(send.identity).await.unwrap();
        let request = http::Request::builder()
            .method(send.method)
            .uri(&send.path)
            .header("content-type", send.content_type)
            .body(if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() })
            .unwrap();
        client.request::<Value>(request).await
    });
    match answer {
        Ok(body) => Answer { code: 200, body, about },
        Err(kube::Error::Api(status)) => {
            Answer { code: status.code, body: serde_json::to_value(&*status).unwrap(), about }
        }
        Err(error) => panic!("{} {}: {error:?}", send.method, send.path),
    }
}

/// A suffix that no other test uses.
pub(crate) fn unique() -> String {
    format!("t{}", next_number())
}

/// The name of a slot that no other test uses.
pub(crate) fn slot_name() -> String {
    format!("codex-k8s-dev-{}", next_number())
}

fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {}, "annotations": {}}})
}

pub(crate) fn with_label(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][format!("{DOMAIN}/{key}")] = value.into();
    object
}

pub(crate) fn with_annotation(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value.into();
    object
}

#[track_caller]
pub(crate) fn create(identity: &Identity, path: &str, object: &Value) -> Answer {
    Send { identity, method: "POST", path: path.to_owned(), content_type: JSON }.body(object)
}

/// Ensures an object of a run as the platform's worker does: reads it, and creates it if it is missing; else puts it
/// back with its own values. If another client creates it in between, that is just as good.
#[track_caller]
pub(crate) fn ensure(identity: &Identity, path: &str, object: &Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap();
    let at = |method| Send { identity, method, path: format!("{path}/{name}"), content_type: JSON };
    if at("GET").body(&Value::Null).code == 404 {
        let created = create(identity, path, object);
        if created.code != 409 {
            return created.admitted();
        }
    }
    loop {
        let mut whole = at("GET").body(&Value::Null).admitted();
        for (key, value) in object.as_object().unwrap() {
            if key == "metadata" {
                whole["metadata"]["labels"] = value["labels"].clone();
            } else if key != "status" {
                whole[key.as_str()] = value.clone();
            }
        }
        let put = at("PUT").body(&whole);
        // Another client wrote in between: the worker's next round follows.
        if put.code != 409 {
            return put.admitted();
        }
    }
}

#[track_caller]
pub(crate) fn create_namespace(identity: &Identity, object: &Value) -> Answer {
    create(identity, "/api/v1/namespaces", object)
}

/// A managed namespace, created by name alone, with a complete baseline.
#[track_caller]
pub(crate) fn managed() -> String {
    let name = format!("codex-issue-{}", unique());
    create_namespace(&Identity::developer(), &namespace(&name)).admitted();
    await_baseline(&name);
    name
}

/// Waits until a new namespace is not written to any more.
#[track_caller]
pub(crate) fn await_baseline(name: &str) {
    let ready = || (!annotation(&read_namespace(name), "baseline-ready-at").is_empty()).then_some(());
    let waited = eventually(&format!("{name} has its baseline"), Duration::from_secs(30), ready);
    waited.unwrap_or_else(|error| panic!("{error}\n{}", cluster().log_tail("reconcile")));
}

/// A managed namespace that enforces a Pod Security level.
#[track_caller]
pub(crate) fn at_level(level: &str) -> String {
    let name = format!("codex-issue-{}", unique());
    let mut object = namespace(&name);
    object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = level.into();
    create_namespace(&Identity::developer(), &object).admitted();
    await_baseline(&name);
    name
}

/// A managed namespace without access to Kubernetes.
#[track_caller]
pub(crate) fn code_only() -> String {
    let name = format!("codex-issue-{}", unique());
    let object = with_label(namespace(&name), "runtime-mode", "code-only");
    create_namespace(&Identity::developer(), &object).admitted();
    await_baseline(&name);
    name
}

/// A slot, labelled by the worker.
#[track_caller]
pub(crate) fn slot() -> String {
    let name = slot_name();
    create_namespace(&Identity::platform_control_plane(), &namespace(&name)).admitted();
    adopt(&name);
    name
}

/// Labels a bare slot as the worker does, and waits until its gate is open.
#[track_caller]
pub(crate) fn adopt(name: &str) {
    let mut labels = json!({"metadata": {"labels": {
        "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": name, "codex-k8s.dev/project-id": "stack",
    }, "annotations": {"codex-k8s.dev/correlation-id": "c1"}}});
    for (key, value) in lease("24h", 0) {
        labels["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    merge(&Identity::worker(), name, &labels).admitted();
    await_baseline(name);
}

/// A namespace that is not managed.
#[track_caller]
pub(crate) fn unmanaged() -> String {
    let name = format!("payments-{}", unique());
    create_namespace(&Identity::developer(), &namespace(&name)).admitted();
    name
}

#[track_caller]
pub(crate) fn patch_at(
    identity: &Identity,
    path: String,
    content_type: &'static str,
    change: &Value,
) -> Answer {
    Send { identity, method: "PATCH", path, content_type }.body(change)
}

#[track_caller]
pub(crate) fn merge(identity: &Identity, name: &str, patch: &Value) -> Answer {
    patch_at(identity, format!("/api/v1/namespaces/{name}"), MERGE, patch)
}

#[track_caller]
pub(crate) fn relabel(identity: &Identity, name: &str, key: &str, value: &Value) -> Answer {
    let mut labels = serde_json::Map::new();
    labels.insert(format!("{DOMAIN}/{key}"), value.clone());
    merge(identity, name, &json!({"metadata": {"labels": labels}}))
}

#[track_caller]
pub(crate) fn annotate(identity: &Identity, name: &str, annotations: &[(&str, &Value)]) -> Answer {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| (format!("{DOMAIN}/{key}"), (*value).clone())).collect();
    merge(identity, name, &json!({"metadata": {"annotations": annotations}}))
}

#[track_caller]
pub(crate) fn read_namespace(name: &str) -> Value {
    let path = format!("/api/v1/namespaces/{name}");
    Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null).admitted()
}

#[track_caller]
pub(crate) fn delete_namespace(identity: &Identity, name: &str) -> Answer {
    let path = format!("/api/v1/namespaces/{name}");
    Send { identity, method: "DELETE", path, content_type: JSON }.body(&Value::Null)
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][format!("{DOMAIN}/{key}")].as_str().unwrap_or_default()
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][format!("{DOMAIN}/{key}")].as_str().unwrap_or_default()
}

/// A lease from now on, shifted by some seconds: ttl, expires-at, updated-at.
pub(crate) fn lease(ttl: &str, shifted_seconds: i64) -> [(&'static str, Value); 3] {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + shifted_seconds).unwrap();
    let lease = codex_k8s_shared::lease::Lease::grant(now, ttl.parse().unwrap()).unwrap();
    [
        ("namespace-lease-ttl", lease.ttl.to_string().into()),
        ("namespace-lease-expires-at", lease.expires_at.to_string().into()),
        ("namespace-lease-updated-at", lease.updated_at.to_string().into()),
    ]
}

#[track_caller]
pub(crate) fn set_lease(identity: &Identity, name: &str, lease: &[(&'static str, Value); 3]) -> Answer {
    let pairs: Vec<_> = lease.iter().map(|(key, value)| (*key, value)).collect();
    annotate(identity, name, &pairs)
}
