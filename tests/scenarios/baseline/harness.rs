//! Clusters that the tests share, requests to them, and queries of their state.

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codex_k8s_tests::{Answer, Caller, Guard, Identity, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// The cluster under the platform's own values, reconciler included.
pub(crate) fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start(playground()).unwrap())
}

/// The runtime of all requests: a client belongs to the runtime that it was created in.
pub(crate) fn runtime() -> &'static Runtime {
    static SHARED: OnceLock<Runtime> = OnceLock::new();
    SHARED.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

/// A suffix that no other test uses.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client of a cluster that sends one request after the other.
pub(crate) struct Client<'a> {
    pub(crate) guard: &'a Guard,
    pub(crate) caller: Caller,
}

impl<'a> Client<'a> {
    pub(crate) fn new(guard: &'a Guard, identity: &Identity) -> Self {
        Self { guard, caller: block_on(Caller::new(&guard.control_plane, identity)).unwrap() }
    }

    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        block_on(self.caller.send(method, path, body)).unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).object().unwrap()
    }

    /// An answer that is not JSON.
    pub(crate) fn text(&self, path: &str) -> String {
        self.send(Method::GET, path, &Value::Null).body.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn find(&self, path: &str) -> Option<Value> {
        let answer = self.send(Method::GET, path, &Value::Null);
        assert!(answer.is_ok() || answer.code == 404, "{answer:?}");
        answer.is_ok().then_some(answer.body)
    }

    #[track_caller]
    pub(crate) fn create(&self, path: &str, body: &Value) -> Value {
        self.send(Method::POST, path, body).object().unwrap()
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Value {
        self.send(Method::PATCH, path, body).object().unwrap()
    }

    /// The warnings in the answer to a creation.
    pub(crate) fn warnings(&self, path: &str, body: &Value) -> String {
        self.send(Method::POST, path, body).warnings.join("\n")
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Value {
        self.send(Method::DELETE, path, &Value::Null).object().unwrap()
    }

    /// A new run namespace, created by its name alone.
    #[track_caller]
    pub(crate) fn namespace(&self) -> String {
        let name = format!("codex-issue-{}", unique());
        self.create("/api/v1/namespaces", &namespace(&name));
        name
    }

    /// A new run namespace with its gate open.
    #[track_caller]
    pub(crate) fn ready_namespace(&self) -> String {
        let name = self.namespace();
        self.await_gate(&name);
        name
    }

    /// Returns true if workloads may start.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        !annotation(&self.get(&at(name)), "baseline-ready-at").is_empty()
    }

    #[track_caller]
    pub(crate) fn await_gate(&self, name: &str) {
        let waited =
            eventually(&format!("the gate of {name} is open"), TIMEOUT, || self.is_open(name).then_some(()));
        waited.unwrap_or_else(|error| {
            let namespace = self.get(&at(name));
            panic!("{error}\n{}\n{}", namespace["metadata"], self.guard.control_plane.log_tail("reconcile"))
        });
    }
}

pub(crate) fn at(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}")
}

/// The baseline objects of A in a namespace: kind and path.
pub(crate) fn baseline(namespace: &str) -> [(&'static str, String); 5] {
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let core = at(namespace);
    [
        ("ServiceAccount", format!("{core}/serviceaccounts/codex-runner")),
        ("Role", format!("{rbac}/roles/codex-runner")),
        ("RoleBinding", format!("{rbac}/rolebindings/codex-runner")),
        ("ResourceQuota", format!("{core}/resourcequotas/codex-run-quota")),
        ("LimitRange", format!("{core}/limitranges/codex-run-limits")),
    ]
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(crate) fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

pub(crate) fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][format!("codex-k8s.dev/{key}")].as_str().unwrap_or_default()
}

/// A metric of the cluster's reconciler, summed over all labels.
pub(crate) fn reconciles(guard: &Guard, metric: &str) -> u64 {
    guard.reconciler.health.sum(&format!("codex_k8s_reconcile_{metric}")).unwrap()
}

/// The smallest, the median, the 99th percentile and the largest, in milliseconds.
pub(crate) fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let at = |percent: usize| sorted.get((last * percent).div_ceil(100)).map_or(0, Duration::as_millis);
    format!("min {} ms, p50 {} ms, p99 {} ms, max {} ms", at(0), at(50), at(99), at(100))
}
