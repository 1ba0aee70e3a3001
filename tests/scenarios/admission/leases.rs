//! Leases: format, bounds, consistency, direction of changes.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn the_parts_of_a_lease_that_are_missing_follow_from_those_given() {
    let object =
        with_annotation(namespace(&format!("codex-issue-{}", unique())), "namespace-lease-ttl", "1h0m0s");
    let stored = create_namespace(&Identity::developer(), &object).admitted();
    let instant = |key| annotation(&stored, key).parse::<codex_k8s_shared::lease::LeaseInstant>().unwrap();
    let between = instant("namespace-lease-expires-at").since(instant("namespace-lease-updated-at")).unwrap();
    assert_eq!(between.to_string(), "1h0m0s");
}

#[test]
fn a_lease_that_cannot_be_read_is_invalid() {
    for (ttl, found) in [("1h1h", "1h1h"), ("7 days", "7 days"), ("\u{663}h", "\u{663}h"), ("", "")] {
        let object =
            with_annotation(namespace(&format!("codex-issue-{}", unique())), "namespace-lease-ttl", ttl);
        let answer = create_namespace(&Identity::worker(), &object);
        answer.refused(422, "LEASE001", "namespace-lease-", &format!("Invalid value: \"{found}\""));
    }
    let name = managed();
    let expiry = [("namespace-lease-expires-at", &Value::from("2030-01-01T00:00:00+14:00"))];
    annotate(&Identity::developer(), &name, &expiry).refused(422, "LEASE001", "expires-at", "whole seconds");
}

#[test]
fn a_lease_is_never_taken_away() {
    let name = managed();
    let before = read_namespace(&name);
    for key in ["namespace-lease-ttl", "namespace-lease-expires-at", "namespace-lease-updated-at"] {
        for identity in [Identity::developer(), Identity::worker()] {
            annotate(&identity, &name, &[(key, &Value::Null)]).restored(&before);
            let without = json!({"metadata": {"annotations": {format!("codex-k8s.dev/{key}"): null}}});
            let status = format!("/api/v1/namespaces/{name}/status");
            patch_at(&identity, status, MERGE, &without).refused(422, "LEASE001", key, "Required value");
        }
    }
}

#[test]
fn a_lease_too_short_or_too_long_is_invalid() {
    for ttl in ["1s", "169h0m0s", "2562047h0m0s"] {
        let object =
            with_annotation(namespace(&format!("codex-issue-{}", unique())), "namespace-lease-ttl", ttl);
        create_namespace(&Identity::worker(), &object).refused(
            422,
            "LEASE002",
            "namespace-lease-ttl",
            "at most",
        );
    }
    let name = managed();
    set_lease(&Identity::worker(), &name, &lease("200h", 0)).refused(
        422,
        "LEASE002",
        "namespace-lease-ttl",
        "at most 168h0m0s",
    );
}

#[test]
fn an_expiry_that_has_passed_is_no_lease() {
    let mut object = namespace(&format!("codex-issue-{}", unique()));
    for (key, value) in lease("1h", -7200) {
        object = with_annotation(object, key, value.as_str().unwrap());
    }
    create_namespace(&Identity::worker(), &object).refused(422, "LEASE002", "expires-at", "ahead of now");
}

#[test]
fn an_expiry_that_does_not_follow_from_the_ttl_is_invalid() {
    let name = managed();
    let far = [("namespace-lease-expires-at", &Value::from("2027-06-01T00:00:00Z"))];
    annotate(&Identity::worker(), &name, &far).refused(
        422,
        "LEASE003",
        "expires-at",
        "updated-at plus ttl is",
    );
}

#[test]
fn anybody_but_an_agent_extends_a_lease() {
    let name = managed();
    set_lease(&Identity::developer(), &name, &lease("48h", 10)).admitted();
    set_lease(&Identity::worker(), &name, &lease("72h", 20)).admitted();
    let answer = set_lease(&Identity::agent(&name), &name, &lease("96h", 30));
    answer.refused(403, "LEASE005", "namespace-lease-expires-at", "an agent never changes a lease");
}

#[test]
fn only_managers_shorten_a_lease() {
    let name = managed();
    for identity in [Identity::developer(), Identity::Admin] {
        let answer = set_lease(&identity, &name, &lease("1h", 10));
        answer.refused(403, "LEASE004", "namespace-lease-expires-at", "only a manager moves it back");
    }
    set_lease(&Identity::worker(), &name, &lease("1h", 10)).admitted();
}

#[test]
fn the_workers_keepalive_passes_again_and_again() {
    let name = managed();
    for second in [1, 6, 11] {
        set_lease(&Identity::worker(), &name, &lease("24h", second)).admitted();
    }
}
