//! A server is ready only while the current caBundle verifies its certificate.

use codex_k8s_certs::{Authority, Leaf};
use codex_k8s_tests::eventually;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use crate::harness::*;

#[test]
fn a_server_whose_leaf_is_not_trusted_is_not_ready_says_why_and_is_when_it_is() {
    let turn = installation();
    let at = turn.at;
    drop(at.reconcile(&[]));
    at.await_whole();
    let mount = tempfile::tempdir().unwrap();
    let copy = |name: &str| std::fs::read(at.mount().join(name)).unwrap();
    publish(mount.path(), &copy("tls.crt"), &copy("tls.key"));
    let server = at.start_server("third", mount.path());
    let other = Authority::generate(Timestamp::now(), "other").unwrap();
    let untrusted = other.issue(Timestamp::now(), &Leaf::of_loopback()).unwrap();
    publish(mount.path(), untrusted.certificate.as_bytes(), untrusted.key.as_bytes());
    let reason = "not ready: certificate trusted by the caBundle in force";
    let refused = || server.health.get("/readyz").ok().filter(|answer| answer.contains(reason));
    eventually("the server is not ready", TIMEOUT, refused).unwrap();
    publish(mount.path(), &copy("tls.crt"), &copy("tls.key"));
    eventually("the server is ready again", TIMEOUT, || server.health.is_ready().then_some(())).unwrap();
    server.process.signal("KILL").unwrap();
}

#[test]
fn a_server_stays_ready_while_the_api_server_is_away() {
    let turn = installation();
    let at = turn.at;
    at.control_plane.kill_api_server().unwrap();
    let told = || {
        at.control_plane.log_tail("first").contains("failed to read the webhook configurations").then_some(())
    };
    let noticed = eventually("the server has noticed", TIMEOUT, told);
    let ready = at.servers.iter().all(|server| server.health.is_ready());
    at.control_plane.start_api_server().unwrap();
    noticed.unwrap();
    assert!(ready, "{}", at.control_plane.log_tail("first"));
}

#[test]
fn a_webhook_configuration_that_is_deleted_shows_in_the_metrics_until_it_is_registered_again() {
    let turn = installation();
    let at = turn.at;
    let show = |registered: bool| {
        let metrics = at.servers[0].health.get("/metrics").ok()?;
        ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
            .iter()
            .all(|kind| {
                let sample = format!("codex_k8s_webhook_registered_webhooks{{configuration=\"{kind}\"}} ");
                let count = metrics.lines().find_map(|line| line.strip_prefix(&sample));
                count.is_some_and(|count| (count != "0") == registered)
            })
            .then_some(())
    };
    eventually("both are registered", TIMEOUT, || show(true)).unwrap();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        at.send(Method::DELETE, &configuration(kind), &Value::Null).object().unwrap();
    }
    eventually("both are missing", TIMEOUT, || show(false)).unwrap();
    at.register();
    let reconciler = at.reconcile(&[]);
    at.await_whole();
    drop(reconciler);
    eventually("both are registered again", TIMEOUT, || show(true)).unwrap();
}
