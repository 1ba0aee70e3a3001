//! Certificates renewed under load: kubelet brings them to the Pods, and EndpointSlices list the Pods' addresses.

use serde_json::Value;

use crate::harness::{INSTALL_NAMESPACE, Installed, machine_can};
use crate::load::{Asked, during};

const AUTHORITY: &str = "codex-k8s-webhook-ca";
const LEAF: &str = "codex-k8s-webhook-tls";
/// The previous authority is kept for a shorter time than by default.
const VALUES: &str = "serve: {replicas: 3}\ncertificates: {extraArgs: [--authority-linger=20s]}\n";

fn secret(cluster: &Installed, name: &str) -> Value {
    cluster.get(&["secret", name, "-n", INSTALL_NAMESPACE]).unwrap()
}

/// Requests rotation of the certificate in a Secret, as the runbook says, and waits until the Secret has a new one.
fn renew(cluster: &Installed, name: &str, file: &str) {
    let before = secret(cluster, name)["data"][file].clone();
    cluster.done(&["annotate", "secret", name, "-n", INSTALL_NAMESPACE, "codex-k8s.dev/rotate=now"]);
    cluster
        .eventually("there is a successor", || (secret(cluster, name)["data"][file] != before).then_some(()));
}

/// Returns true if nothing of the previous authority is trusted or served any more.
fn is_settled(cluster: &Installed) -> bool {
    let authority = &secret(cluster, AUTHORITY)["data"];
    let no_previous = authority["previous.crt"].as_str().is_none_or(str::is_empty);
    let registered = cluster.get(&["validatingwebhookconfiguration", "codex-k8s-guard"]).unwrap();
    let trusted = registered["webhooks"].as_array().unwrap().iter();
    no_previous
        && trusted
            .map(|webhook| &webhook["clientConfig"]["caBundle"])
            .all(|bundle| *bundle == authority["ca.crt"])
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn leaf_and_authority_rotate_under_load_through_the_service_and_no_request_fails() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    cluster.eventually("it is settled", || is_settled(&cluster).then_some(()));
    let leaf = during(&cluster, Asked::Guarded, 5_000, || renew(&cluster, LEAF, "tls.crt"));
    leaf.without_a_failure("rotation of the leaf");
    let leaf_before = secret(&cluster, LEAF)["data"]["tls.crt"].clone();
    let authority = during(&cluster, Asked::Guarded, 20_000, || {
        renew(&cluster, AUTHORITY, "ca.crt");
        cluster.eventually("a leaf of the new authority is there", || {
            (secret(&cluster, LEAF)["data"]["tls.crt"] != leaf_before).then_some(())
        });
        cluster.eventually("the authority before has gone", || is_settled(&cluster).then_some(()));
    });
    authority.without_a_failure("rotation of the authority");
}
