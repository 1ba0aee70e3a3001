//! Humans who delete, replace and corrupt Secrets and registration.

use codex_k8s_tests::eventually;
use http::Method;
use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn a_secret_that_a_human_deletes_comes_back_and_no_request_fails() {
    let turn = installation();
    let at = turn.at;
    let _reconciler = at.reconcile(&[]);
    at.await_whole();
    let load = Load::start(at);
    for (name, key) in [(LEAF, "tls.crt"), (AUTHORITY, "ca.crt")] {
        let before = at.part(name, key);
        at.send(Method::DELETE, &secret(name), &Value::Null).object().unwrap();
        let anew = || Some(at.part(name, key)).filter(|now| !now.is_empty() && *now != before);
        eventually(&format!("{name} is there again"), TIMEOUT, anew).unwrap();
        at.await_whole();
    }
    load.end("both Secrets deleted");
}

#[test]
fn a_truncated_authority_is_replaced_and_no_request_fails() {
    let turn = installation();
    let at = turn.at;
    let _reconciler = at.reconcile(&[]);
    at.await_whole();
    let before = at.part(AUTHORITY, "ca.crt");
    let load = Load::start(at);
    at.patch(&secret(AUTHORITY), &json!({"data": {"ca.key": "LS0tLS1CRUdJTg=="}}));
    let renewed = || (at.part(AUTHORITY, "ca.crt") != before).then_some(());
    eventually("there is a new authority", TIMEOUT, renewed).unwrap();
    at.await_whole();
    load.end("a truncated key");
}

#[test]
fn a_secret_of_another_owner_is_left_alone_and_reported() {
    let turn = installation();
    let at = turn.at;
    let label = |value: Value| json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": value}}});
    at.patch(&secret(LEAF), &label("cert-manager".into()));
    let before = at.get(&secret(LEAF));
    let reconciler = at.reconcile(&[]);
    let refused =
        || (reconciler.0.health.metric("codex_k8s_reconcile_certificates_refused").ok()? == 1).then_some(());
    eventually("the reconciler refuses", TIMEOUT, refused).unwrap();
    let log = at.control_plane.log_tail("reconciler");
    assert!(log.contains("the leaf's Secret is owned by another manager"), "{log}");
    assert_eq!(at.get(&secret(LEAF))["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    at.patch(&secret(LEAF), &label("codex-k8s-reconcile".into()));
    at.await_whole();
    let accepted =
        || (reconciler.0.health.metric("codex_k8s_reconcile_certificates_refused").ok()? == 0).then_some(());
    eventually("the reconciler goes on", TIMEOUT, accepted).unwrap();
}

#[test]
fn a_registration_that_is_bent_is_repaired_and_counted() {
    let turn = installation();
    let at = turn.at;
    let reconciler = at.reconcile(&[]);
    at.await_whole();
    let path = configuration("validatingwebhookconfigurations");
    let rules = at.get(&path)["webhooks"][0]["rules"].clone();
    // The reconciler may still write an annotation to it.
    let bent = || {
        let mut bent = at.get(&path);
        bent["webhooks"][0]["failurePolicy"] = "Ignore".into();
        bent["webhooks"][0]["rules"].as_array_mut().unwrap().pop();
        bent["webhooks"][1]["clientConfig"]["caBundle"] = Value::Null;
        at.send(Method::PUT, &path, &bent).is_ok().then_some(())
    };
    eventually("the configuration is bent", TIMEOUT, bent).unwrap();
    let repaired = || {
        let webhooks = &at.get(&path)["webhooks"];
        (webhooks[0]["failurePolicy"] == "Fail" && webhooks[0]["rules"] == rules).then_some(())
    };
    eventually("the configuration is repaired", TIMEOUT, repaired).unwrap();
    at.await_whole();
    let counted = "codex_k8s_reconcile_registration_repairs_total{what=\"ValidatingWebhookConfiguration\"}";
    assert_eq!(reconciler.0.health.metric(counted).unwrap(), 1);
    let log = at.control_plane.log_tail("reconciler");
    assert!(log.contains("failurePolicy") && log.contains("rules"), "{log}");
}

#[test]
fn a_registration_that_is_deleted_stays_deleted_and_is_filled_in_when_it_is_back() {
    let turn = installation();
    let at = turn.at;
    let _reconciler = at.reconcile(&[]);
    at.await_whole();
    let paths = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"].map(configuration);
    for path in &paths {
        at.send(Method::DELETE, path, &Value::Null).object().unwrap();
    }
    let leaf = at.part(LEAF, "tls.crt");
    at.ask(LEAF);
    let renewed = || (at.part(LEAF, "tls.crt") != leaf).then_some(());
    eventually("the reconciler has looked, and renewed the leaf", TIMEOUT, renewed).unwrap();
    for path in &paths {
        assert_eq!(at.send(Method::GET, path, &Value::Null).code, 404);
    }
    at.register();
    at.await_whole();
}
