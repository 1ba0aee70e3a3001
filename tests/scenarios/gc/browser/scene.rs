//! A scene for the page: a namespace in each state, a policy with limits, rows, and a sweep.

use std::net::SocketAddr;

use codex_k8s_shared::audit::EventType;
use codex_k8s_shared::last_sweep::{CONFIG_MAP, KEY, LastSweep, SweepResult};
use codex_k8s_shared::quota::Scope;
use codex_k8s_tests::Health;
use codex_k8s_tests::control_plane::free_port;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, Daemon, INSTALL_NAMESPACE, Ns, minutes, soon, unique};

const POLICY: &str = "\
quotas:
  cluster: {max: 200}
  perProject: {max: 8, overrides: {p2: 2}}
cleanup: {grace: 30m}
";

/// The cluster, and a daemon that serves its page.
pub(super) struct Scene {
    page: SocketAddr,
    _daemon: Daemon,
    cluster: Cluster,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Other tests must not find these namespaces in the cluster.
        let list = self.cluster.send(Method::GET, "/api/v1/namespaces?labelSelector=scene", &Value::Null);
        for item in list.object().unwrap()["items"].as_array().unwrap() {
            let name = item["metadata"]["name"].as_str().unwrap();
            let unblock = json!({"metadata": {"finalizers": null}});
            self.cluster.send(Method::PATCH, &format!("/api/v1/namespaces/{name}/configmaps/a"), &unblock);
            self.cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
        }
        let leases =
            format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/leases?labelSelector=scene");
        self.cluster.send(Method::DELETE, &leases, &Value::Null);
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        let cluster = Cluster::new();
        last_sweep(&cluster);
        namespaces(&cluster);
        reservations(&cluster);
        for (event, name) in [
            (EventType::Prepared, "codex-issue-88"),
            (EventType::CleanupIntended, "codex-issue-77"),
            (EventType::Cleaned, "codex-issue-77"),
            (EventType::CleanupSkipped, "codex-issue-<script>alert(1)</script>"),
        ] {
            cluster.append(event, name);
        }
        let page: SocketAddr = format!("127.0.0.1:{}", free_port().unwrap()).parse().unwrap();
        let listen = format!("--admin-listen={page}");
        let policy = cluster.policy(POLICY);
        let daemon = cluster.daemon_with(&["--schedule=0 0 1 1 *", &listen, &policy]);
        soon("the page is there", || Health(page).get("/").ok());
        Self { page, _daemon: daemon, cluster }
    }

    pub(super) fn address(&self, query: &str) -> String {
        format!("http://{}/{query}", self.page)
    }
}

/// A sweep that retained some namespaces and failed at one.
fn last_sweep(cluster: &Cluster) {
    let last = LastSweep {
        started_at: minutes(-8).parse().ok(),
        finished_at: minutes(-7).parse().ok(),
        last_success: minutes(-22).parse().ok(),
        result: SweepResult::Partial,
        managed: 70,
        due: 4,
        deleted: 3,
        failed: 1,
        retained: [("held".to_owned(), 1), ("active_workloads_present".to_owned(), 2)].into(),
        oldest_terminating: minutes(-50).parse().ok(),
        ..LastSweep::default()
    };
    let data = json!({KEY: serde_json::to_string(&last).unwrap()});
    let note = json!({"metadata": {"name": CONFIG_MAP}, "data": data});
    cluster.create(&format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/configmaps"), &note);
}

fn lease(namespace: Ns, hours: i64, from: i64, to: i64) -> Ns {
    namespace.lease(&format!("{hours}h0m0s"), &minutes(from), &minutes(to))
}

fn namespaces(cluster: &Cluster) {
    let new = |prefix: &str| {
        Ns::fresh(&unique(prefix)).label("scene", "page").label("codex-k8s.dev/project-id", "scene")
    };
    let ready = |namespace: Ns| namespace.annotation("codex-k8s.dev/baseline-ready-at", &minutes(-1));
    let held = format!("{} looking into the migration of the scene", minutes(60 * 7));
    let evil = "jane\"><img src=x onerror=alert(1)>";
    for namespace in [
        ready(lease(new("codex-issue"), 1, -120, -60)),
        ready(lease(new("codex-issue"), 24, -30, 24 * 60 - 30)),
        ready(lease(new("codex-issue"), 6, -90, 270)),
        ready(lease(new("codex-issue"), 6, -350, 10)).label("codex-k8s.dev/project-id", "p2"),
        ready(lease(new("codex-issue"), 2, -130, -10)),
        ready(lease(new("codex-issue"), 3, -240, -60)).annotation("codex-k8s.dev/hold", &held),
        new("codex-issue")
            .annotation("codex-k8s.dev/baseline-waits-for", "ResourceQuota codex-runner does not count yet"),
        lease(new("codex-issue"), 1, -45, 15).annotation("codex-k8s.dev/quota-pending-since", &minutes(-45)),
        new("codex-issue")
            .annotation("codex-k8s.dev/requested-by", evil)
            .annotation("codex-k8s.dev/hold", evil),
        new("codex-issue").annotation("codex-k8s.dev/namespace-lease-ttl", "a while"),
        new("other-name"),
    ] {
        cluster.create_namespace(&namespace);
    }
    for number in 0..60 {
        let namespace = lease(new("codex-issue"), 24, -number * 11, 24 * 60 - number * 11);
        cluster.create_namespace(&ready(namespace.label("codex-k8s.dev/project-id", "many")));
    }
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::fresh(&name).label("scene", "page"));
    let blocked = json!({"metadata": {"name": "a", "finalizers": ["example.org/block"]}});
    cluster.create(&format!("/api/v1/namespaces/{name}/configmaps"), &blocked);
    cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
}

fn reservations(cluster: &Cluster) {
    for (scope, count) in
        [(Scope::Cluster, 70), (Scope::Project("scene".into()), 5), (Scope::Project("p2".into()), 2)]
    {
        for number in 0..count {
            let labels = json!({"guard.codex-k8s.dev/reservation": scope.kind(), "scene": "page"});
            let reservation = json!({"metadata": {"name": format!("reservation-{}-{number}", scope.stem()), "labels": labels}});
            cluster.create(
                &format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/leases"),
                &reservation,
            );
        }
    }
}
