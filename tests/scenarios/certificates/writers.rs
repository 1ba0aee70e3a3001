//! Another writer of the webhook configurations, such as a controller of a managed cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use codex_k8s_tests::kubectl::Kubectl;
use codex_k8s_tests::{Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

const VALIDATING: &str = "validatingwebhookconfigurations";
/// The variable for a longer fight than that of `make test`.
const SECONDS: &str = "CODEX_K8S_GUARD_WRITER_SECONDS";

fn not_in(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "NotIn", "values": values})
}

/// The terms that the admissions enforcer of AKS adds to every webhook.
fn of_aks() -> [Value; 2] {
    [not_in("control-plane", &["true"]), not_in("kubernetes.azure.com/managedby", &["aks"])]
}

fn patch(kubectl: &Kubectl, operations: &Value) {
    let patch = operations.to_string();
    let ran =
        kubectl.run(&["patch", VALIDATING, INSTALL_NAMESPACE, "--type=json", "--patch", &patch]).unwrap();
    assert!(ran.succeeded(), "{ran}");
}

fn generation(at: &Installation) -> i64 {
    at.get(&configuration(VALIDATING))["metadata"]["generation"].as_i64().unwrap()
}

/// Requests another leaf, and waits until it is issued.
#[track_caller]
fn rotate_leaf(at: &Installation) {
    let before = at.part(LEAF, "tls.crt");
    at.ask(LEAF);
    eventually("the leaf is renewed", TIMEOUT, || (at.part(LEAF, "tls.crt") != before).then_some(()))
        .unwrap();
}

#[test]
fn another_writer_once_a_second_gets_few_repairs_and_delays_no_certificate() {
    let turn = installation();
    let at = turn.at;
    let reconciler = at.reconcile(&[]);
    at.await_whole();
    let seconds: u64 = std::env::var(SECONDS).map_or(25, |text| text.parse().unwrap());
    let kubectl = at.control_plane.kubectl(&Identity::Admin).unwrap();
    let excluded = json!([{"op": "add", "path": "/webhooks/0/namespaceSelector",
        "value": {"matchExpressions": of_aks()}}]);
    let (begun, first, enough) = (Instant::now(), generation(at), AtomicBool::new(false));
    let writes = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writes = 0;
            while begun.elapsed().as_secs() < seconds || !enough.load(Ordering::Relaxed) {
                patch(&kubectl, &excluded);
                writes += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            writes
        });
        let contested = format!(
            "codex_k8s_reconcile_registration_contested{{what=\"{}\"}}",
            "ValidatingWebhookConfiguration"
        );
        let is_contested = || (reconciler.0.health.metric(&contested).ok()? == 1).then_some(());
        eventually("the other writer is noticed", TIMEOUT, is_contested).unwrap();
        rotate_leaf(at);
        at.await_whole();
        enough.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let elapsed = begun.elapsed().as_secs();
    let repairs = reconciler.0.health.sum("codex_k8s_reconcile_registration_repairs_total").unwrap();
    let of_certificates = reconciler.0.health.sum("codex_k8s_reconcile_certificate_writes_total").unwrap();
    let grown = generation(at) - first;
    println!(
        "{writes} writes of another writer in {elapsed} s: {repairs} repairs, {of_certificates} writes of certificates, \
         the generation grew by {grown}"
    );
    // At once, at once, and then after one second, two, four, eight and so on.
    assert!(repairs >= 3 && repairs <= u64::from(elapsed.ilog2()) + 3, "{repairs} repairs in {elapsed} s");
    let log = at.control_plane.log_tail("reconciler");
    assert!(log.contains("another writer keeps changing it") && log.contains("kubectl-patch"), "{log}");
    patch(&kubectl, &json!([{"op": "remove", "path": "/webhooks/0/namespaceSelector"}]));
    at.await_whole();
}

#[test]
fn terms_that_managed_clusters_add_to_exclude_their_own_namespaces_are_left_alone() {
    let turn = installation();
    let at = turn.at;
    let reconciler = at.reconcile(&[]);
    at.await_whole();
    let kubectl = at.control_plane.kubectl(&Identity::Admin).unwrap();
    let webhooks = at.get(&configuration(VALIDATING))["webhooks"].clone();
    let is_meant = |webhook: &Value| webhook["name"] == "workloads.guard.codex-k8s.dev";
    let index = webhooks.as_array().unwrap().iter().position(is_meant).unwrap();
    let path = format!("/webhooks/{index}/namespaceSelector");
    let ours = webhooks[index]["namespaceSelector"].clone();
    let mut terms = ours["matchExpressions"].as_array().unwrap().clone();
    terms.extend(of_aks());
    terms.push(not_in("kubernetes.io/metadata.name", &["kube-system", "gke-gmp-system"]));
    let added = json!({"matchExpressions": terms});
    patch(&kubectl, &json!([{"op": "replace", "path": path, "value": added}]));
    let patched = generation(at);
    // It observes the configurations before and after this.
    rotate_leaf(at);
    at.await_whole();
    assert_eq!(generation(at), patched);
    let found = at.get(&configuration(VALIDATING));
    assert_eq!(found["webhooks"][index]["namespaceSelector"], added);
    assert_eq!(found["metadata"]["labels"]["admissions.enforcer/disabled"], "true");
    assert_eq!(reconciler.0.health.sum("codex_k8s_reconcile_registration_repairs_total").unwrap(), 0);
    patch(&kubectl, &json!([{"op": "replace", "path": path, "value": ours}]));
}
