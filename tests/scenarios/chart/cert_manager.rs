//! The chart's certificates if cert-manager issues them: its own controllers do, and its injector fills in the
//! authority.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_tests::{Identity, binaries};
use http::Method;
use serde_json::{Value, json};

use crate::installed::define;
use crate::rights::installation::{AUTHORITY, INSTALL_NAMESPACE, Installation, LEAF};
use crate::values::{objects, rendered, set};

const GROUP: &str = "cert-manager.io";

/// An installation whose certificates are cert-manager's.
struct Issued(Installation);

impl Issued {
    /// Installs the Issuers and Certificates of the chart; the leaf is also valid for the address of the test's server.
    fn new() -> Self {
        let mut rendered = objects(&rendered(set("cert-manager")));
        let at = Installation::new(&rendered);
        let kubectl = at.control_plane.kubectl(&Identity::Admin).unwrap();
        define(&kubectl, &rendered);
        rendered.retain(|object| object["apiVersion"].as_str().unwrap().starts_with(GROUP));
        let leaf = rendered
            .iter_mut()
            .find(|object| object["kind"] == "Certificate" && object["metadata"]["name"] == LEAF)
            .unwrap();
        leaf["spec"]["ipAddresses"] = json!(["127.0.0.1"]);
        let program = binaries::cert_manager().unwrap();
        let kubeconfig = at.control_plane.kubeconfig(&Identity::Admin).unwrap();
        let env = vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
        at.control_plane.run("cert-manager", program, vec![], env).unwrap();
        at.apply(&rendered);
        Self(at)
    }

    fn secret(&self, name: &str) -> Option<Value> {
        self.0.find(&format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/secrets/{name}"))
    }

    /// The value under a key in the Secret of an authority or the leaf.
    fn stored(&self, name: &str, key: &str) -> Value {
        self.secret(name).map_or(Value::Null, |secret| secret["data"][key].clone())
    }

    /// Requests renewal before its time, as `cmctl renew` does, and waits for it.
    fn renew(&self, name: &str) {
        let before = self.stored(name, "tls.crt");
        let path = format!("/apis/{GROUP}/v1/namespaces/{INSTALL_NAMESPACE}/certificates/{name}");
        let mut status = self.0.soon(&format!("{name} is at rest"), || {
            let status = self.0.find(&path)?["status"].clone();
            let is =
                |condition: &Value, kind: &str| condition["type"] == kind && condition["status"] == "True";
            let conditions = status["conditions"].as_array()?;
            let rests = conditions.iter().any(|condition| is(condition, "Ready"))
                && !conditions.iter().any(|condition| is(condition, "Issuing"));
            rests.then_some(status)
        });
        status["conditions"].as_array_mut().unwrap().push(json!({"type": "Issuing", "status": "True",
            "reason": "ManuallyTriggered", "message": "renewed by a test", "lastTransitionTime": "2026-01-01T00:00:00Z"}));
        self.0.done(Method::PATCH, &format!("{path}/status"), &json!({"status": status}));
        self.0.soon(&format!("{name} is renewed"), || (self.stored(name, "tls.crt") != before).then_some(()));
    }

    /// The authorities in the webhook's caBundle, in PEM.
    fn trusted(&self) -> String {
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/codex-k8s-guard";
        decoded(&self.0.find(path).unwrap()["webhooks"][0]["clientConfig"]["caBundle"])
    }

    /// The answer to a request that the rules refuse.
    fn asked(&self) -> (u16, String) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "codex-issue-try", "annotations": {"codex-k8s.dev/namespace-lease-ttl": "sometimes"}}});
        let answer =
            self.0.send_as(&Identity::developer(), Method::POST, "/api/v1/namespaces?dryRun=All", &namespace);
        (answer.code, answer.message().to_owned())
    }
}

fn decoded(value: &Value) -> String {
    String::from_utf8(BASE64.decode(value.as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn cert_manager_issues_what_is_served_and_its_injector_has_it_trusted_and_so_are_its_successors() {
    let cluster = Issued::new();
    let at = &cluster.0;
    at.soon("there is a leaf", || cluster.secret(LEAF));
    at.write_policy("");
    let webhook = at.serve();
    let url = format!("https://{}", at.address);
    let from = format!("--inject-ca-from={INSTALL_NAMESPACE}/{LEAF}");
    let ran = at.run("codex-k8s-registration", &["register", "--url", &url, &from, "--wait=90s"]);
    assert!(ran.status.success(), "{ran:?}\n{}", at.control_plane.log_tail("cert-manager"));
    let enforced = || {
        let (code, message) = cluster.asked();
        (code == 422 && message.contains("denied the request: LEASE001: ")).then_some(())
    };
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());

    // A new leaf of the same authority: trusted before it is served, and after.
    cluster.renew(LEAF);
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());
    at.mount();
    let authority = decoded(&cluster.stored(AUTHORITY, "tls.crt"));
    at.soon("the new leaf is served", || at.serves_what_is_mounted(&authority));
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());

    // Another authority: the injector keeps the previous one in the bundle, for the leaf that is served until the new
    // one is mounted.
    let before = cluster.trusted();
    cluster.renew(AUTHORITY);
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());
    cluster.renew(LEAF);
    let authority = decoded(&cluster.stored(AUTHORITY, "tls.crt"));
    assert_eq!(decoded(&cluster.stored(LEAF, "ca.crt")), authority);
    let both = at.soon("another authority is trusted", || {
        Some(cluster.trusted()).filter(|bundle| bundle.contains(&authority))
    });
    assert!(both.contains(&before) && !before.contains(&authority), "{both}");
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());
    at.mount();
    at.soon("the leaf of the new authority is served", || at.serves_what_is_mounted(&authority));
    assert_eq!(enforced(), Some(()), "{:?}", cluster.asked());
    at.end(&webhook.process);
}
