//! Tokens, Secrets that hold them, and quotas in addition to the baseline's.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::guard::{delete, path};
use crate::harness::*;

fn token(spec: &Value) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
}

#[track_caller]
fn ask(identity: &Identity, namespace: &str, account: &str, spec: &Value) -> Answer {
    create(identity, &format!("{}/{account}/token", path(namespace, "serviceaccounts")), &token(spec))
}

#[test]
fn a_token_is_for_this_api_server_and_for_an_hour() {
    let namespace = managed();
    for identity in [Identity::agent(&namespace), Identity::developer(), Identity::Admin, Identity::worker()]
    {
        let ask = |spec: &Value| ask(&identity, &namespace, "codex-runner", spec);
        ask(&json!({"audiences": ["vault"]})).refused(
            403,
            "TOKEN001",
            "spec.audiences[0]",
            "Invalid value: \"vault\"",
        );
        ask(&json!({"audiences": ["https://kubernetes.default.svc", "vault"]})).refused(
            403,
            "TOKEN001",
            "spec.audiences[1]",
            "must be https://kubernetes.default.svc or",
        );
        ask(&json!({"expirationSeconds": 31_536_000})).refused(
            403,
            "TOKEN001",
            "spec.expirationSeconds",
            "must be at most 3607",
        );
        let given = ask(&json!({})).admitted();
        assert_eq!(given["spec"]["audiences"], json!(["https://kubernetes.default.svc"]));
        ask(&json!({"expirationSeconds": 3607})).admitted();
    }
}

#[test]
fn a_kubelet_requests_the_tokens_of_its_pods_without_us() {
    let namespace = managed();
    ask(&Identity::kubelet(), &namespace, "codex-runner", &json!({"audiences": ["vault"]})).admitted();
}

#[test]
fn an_agent_takes_no_token_of_a_stronger_service_account() {
    let slot = slot();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "codex-k8s-control-plane"}});
    create(&Identity::platform_control_plane(), &path(&slot, "serviceaccounts"), &account).admitted();
    let agent = Identity::agent(&slot);
    ask(&agent, &slot, "codex-k8s-control-plane", &json!({})).refused(
        403,
        "TOKEN002",
        "metadata.name",
        "must be codex-runner or",
    );
    ask(&agent, &slot, "codex-runner", &json!({})).admitted();
    ask(&Identity::platform_control_plane(), &slot, "codex-k8s-control-plane", &json!({})).admitted();
}

#[test]
fn no_secret_in_a_run_namespace_holds_a_token() {
    let namespace = managed();
    let secret = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "s", "annotations":
            {"kubernetes.io/service-account.name": "codex-runner"}}})
    };
    let long = secret("kubernetes.io/service-account-token");
    for identity in [Identity::agent(&namespace), Identity::developer(), Identity::Admin, Identity::worker()]
    {
        create(&identity, &path(&namespace, "secrets"), &long).refused(
            403,
            "SECRET001",
            "type",
            "never ends",
        );
    }
    create(&Identity::developer(), &path(&namespace, "secrets"), &secret("Opaque")).admitted();
    create(&Identity::developer(), &path(&unmanaged(), "secrets"), &long).admitted();
}

#[test]
fn no_quota_or_limit_range_exists_besides_the_baselines() {
    let namespace = managed();
    let object = |kind: &str, spec: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "mine"}, "spec": spec});
    let limits = |cpu: &str| json!({"limits": [{"type": "Container", "default": {"cpu": cpu}, "defaultRequest": {"cpu": "1"}}]});
    for (plural, object, change) in [
        (
            "resourcequotas",
            object("ResourceQuota", json!({"hard": {"pods": "0"}})),
            json!({"hard": {"pods": "1"}}),
        ),
        ("limitranges", object("LimitRange", limits("64")), limits("32")),
    ] {
        let at = path(&namespace, plural);
        for identity in [Identity::agent(&namespace), Identity::developer(), Identity::Admin] {
            create(&identity, &at, &object).refused(
                403,
                "QUOTA001",
                "metadata.name",
                "those of its baseline",
            );
        }
        create(&Identity::worker(), &at, &object).admitted();
        patch_at(&Identity::agent(&namespace), format!("{at}/mine"), MERGE, &json!({"spec": change}))
            .refused(403, "QUOTA001", "spec", "or is deleted");
        delete(&Identity::agent(&namespace), format!("{at}/mine")).admitted();
    }
}
