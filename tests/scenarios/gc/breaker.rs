//! Implausible sweeps: nothing is deleted, and the message says what to do.

use codex_k8s_shared::audit::{EventType, Filter};
use http::Method;
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Value, json};

use crate::harness::{Cluster, INSTALL_NAMESPACE, Ns, SweepOutcome, soon, unique};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

fn codes(swept: &SweepOutcome) -> Vec<&str> {
    let tripped = swept.report["breaker"].as_array().unwrap();
    tripped.iter().map(|tripped| tripped["code"].as_str().unwrap()).collect()
}

/// Namespaces whose leases were over before they were created, as after a restore from a backup.
fn expired(cluster: &Cluster, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|_| unique("codex-issue")).collect();
    for name in &names {
        cluster.create_namespace(&Ns::expired(name));
    }
    names
}

/// A cluster in which no namespace is due: tests that count start with it.
fn tidy() -> Cluster {
    let cluster = Cluster::new();
    let swept = cluster.sweep(&["--allow-mass-deletion=1000"]);
    assert_eq!(swept.code, 0, "{}", swept.told);
    cluster
}

fn refusals(cluster: &Cluster) -> Vec<String> {
    let filter = Filter { event_type: Some(EventType::CleanupRefused), ..Filter::default() };
    let rows = cluster.rows_of(&filter).into_iter();
    rows.map(|row| row.event.payload.reason.unwrap()).collect()
}

pub(crate) fn last_sweep(cluster: &Cluster) -> Value {
    let path = format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/configmaps/codex-k8s-gc-last-sweep");
    let noted = cluster.send(Method::GET, &path, &Value::Null).object().unwrap();
    serde_json::from_str(noted["data"]["sweep.json"].as_str().unwrap()).unwrap()
}

#[test]
fn a_clock_that_is_wrong_by_an_hour_or_a_year_deletes_nothing_and_no_one_can_allow_it() {
    let cluster = Cluster::new();
    let (goes, lives) = (unique("codex-issue"), unique("codex-issue"));
    cluster.create_namespace(&Ns::expired(&goes));
    cluster.create_namespace(&Ns::fresh(&lives));
    for ahead in [HOUR, -HOUR, YEAR, -YEAR] {
        let mut command = cluster.command(&["sweep", "--output=json", "--allow-mass-deletion=1000"]);
        let swept =
            SweepOutcome::of(&command.env("CODEX_K8S_CLOCK_AHEAD", ahead.to_string()).output().unwrap());
        assert_eq!((swept.code, codes(&swept)), (3, vec!["clock_skew"]), "{ahead}: {}", swept.told);
        assert_eq!(swept.report["breaker"][0]["canBeAllowed"], false);
        assert!(cluster.lives(&goes) && cluster.lives(&lives), "{ahead}");
    }
    let mut told = cluster.command(&["sweep"]);
    let told = told.env("CODEX_K8S_CLOCK_AHEAD", HOUR.to_string()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("s ahead of the API server's; 30 s at most are trusted"), "{told}");
    assert!(told.contains("nothing will be deleted until this is fixed"), "{told}");
    assert!(!cluster.rows(&goes).iter().any(|(event, _)| *event == EventType::CleanupIntended));
    assert_eq!(cluster.sweep(&[]).outcome(&goes), "deleted");
}

#[test]
fn too_many_at_once_are_refused_until_a_person_allows_as_many_on_purpose() {
    let cluster = tidy();
    let names = expired(&cluster, 3);
    let policy = cluster.policy("cleanup: {breaker: {maxDeletions: 2}}\n");
    for args in [&[&*policy][..], &[&policy, "--allow-mass-deletion=2"]] {
        let swept = cluster.sweep(args);
        assert_eq!((swept.code, codes(&swept)), (3, vec!["too_many_deletions"]), "{}", swept.told);
        assert!(names.iter().all(|name| cluster.lives(name)));
    }
    assert_eq!(refusals(&cluster), ["too_many_deletions"], "told once");
    let noted = last_sweep(&cluster);
    assert_eq!(
        (noted["result"].as_str(), &noted["breaker"]),
        (Some("aborted"), &json!(["too_many_deletions"]))
    );
    assert_eq!((&noted["due"], &noted["deleted"]), (&json!(3), &json!(0)));
    let told = String::from_utf8(cluster.run(&["sweep", &policy]).stdout).unwrap();
    assert!(
        told.contains("3 namespaces are due otherwise than by their own leases; one sweep deletes 2 at most"),
        "{told}"
    );
    assert!(told.contains("codex-k8s-guard sweep --allow-mass-deletion=3"), "{told}");
    let events = cluster
        .send(Method::GET, &format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/events"), &Value::Null)
        .body;
    assert!(events.to_string().contains("BreakerTripped"), "{events}");

    let swept = cluster.sweep(&[&policy, "--allow-mass-deletion=3"]);
    assert_eq!((swept.code, codes(&swept)), (0, vec![]), "{}", swept.told);
    cluster.agrees(&names);
    let noted = last_sweep(&cluster);
    assert_eq!((noted["result"].as_str(), &noted["deleted"]), (Some("succeeded"), &json!(3)));
    assert_eq!(noted["lastSuccess"], noted["finishedAt"]);
}

#[test]
fn too_large_a_share_is_what_a_bad_policy_or_selector_makes_of_all_leases() {
    let cluster = tidy();
    // A policy under which missing leases are over after a second.
    let names: Vec<_> = (0..2).map(|_| unique("codex-issue")).collect();
    for name in &names {
        let keys = ["ttl", "updated-at", "expires-at"];
        let without = keys.iter().fold(Ns::expired(name), |namespace, key| {
            namespace.without("annotations", &format!("codex-k8s.dev/namespace-lease-{key}"))
        });
        cluster.create_namespace(&without);
    }
    let policy = cluster.policy(
        "lease: {minTtl: 1s, defaultTtl: 1s}\n\
         cleanup: {grace: 1s, missingLease: useAge, breaker: {maxSharePercent: 1, minForShare: 2}}\n",
    );
    await_time(3);
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, codes(&swept)), (3, vec!["too_large_a_share"]), "{}", swept.told);
    assert!(names.iter().all(|name| cluster.lives(name)));
}

/// Waits until leases of this many seconds, and the grace period after them, are over.
fn await_time(seconds: i64) {
    let due = Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    soon("the leases are over", || (Timestamp::now() > due).then_some(()));
}

/// A namespace whose lease is active at its creation, and over a moment later.
fn promised(name: &str) -> Ns {
    let at = |seconds| {
        let now = Timestamp::now().round(Unit::Second).unwrap();
        now.checked_add(SignedDuration::from_secs(seconds)).unwrap().to_string()
    };
    Ns::expired(name).lease("1h0m0s", &at(4 - HOUR), &at(4))
}

#[test]
fn what_is_due_by_its_own_lease_goes_although_the_breaker_refuses_the_rest() {
    let cluster = tidy();
    let restored = expired(&cluster, 3);
    let own: Vec<_> = (0..3).map(|_| unique("codex-issue")).collect();
    for name in &own {
        cluster.create_namespace(&promised(name));
    }
    await_time(6);
    let policy = cluster.policy("cleanup: {grace: 1s, breaker: {maxDeletions: 2}}\n");
    let planned = cluster.sweep(&[&policy, "--dry-run"]);
    assert_eq!(planned.code, 3, "{}", planned.told);
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, codes(&swept)), (3, vec!["too_many_deletions"]), "{}", swept.told);
    assert!(restored.iter().all(|name| cluster.lives(name)), "{swept:?}");
    assert_eq!(
        own.iter().map(|name| swept.outcome(name)).collect::<Vec<_>>(),
        ["deleted", "deleted", "postponed"]
    );
    let noted = last_sweep(&cluster);
    assert_eq!((&noted["due"], &noted["dueByPolicy"], &noted["deleted"]), (&json!(6), &json!(3), &json!(2)));
    assert_eq!(noted["result"], "aborted");
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, swept.outcome(&own[2])), (3, "deleted"), "{}", swept.told);
    for name in &own {
        let rows =
            [EventType::CleanupIntended, EventType::Cleaned].map(|event| (event, "ttl_expired".to_owned()));
        assert_eq!((cluster.read(name), cluster.rows(name)), (None, rows.into()));
    }
    // A wrong clock keeps these as well.
    let late = unique("codex-issue");
    cluster.create_namespace(&promised(&late));
    let mut command = cluster.command(&["sweep", "--output=json", &policy]);
    let swept = SweepOutcome::of(&command.env("CODEX_K8S_CLOCK_AHEAD", YEAR.to_string()).output().unwrap());
    assert_eq!(swept.code, 3, "{}", swept.told);
    assert!(codes(&swept).contains(&"clock_skew") && cluster.lives(&late), "{swept:?}");
}

#[test]
fn a_sudden_jump_against_the_last_sweep_is_refused() {
    let cluster = tidy();
    let policy =
        cluster.policy("cleanup: {breaker: {maxGrowthFactor: 1, minForShare: 1, maxSharePercent: 100}}\n");
    assert_eq!(cluster.sweep(&[&policy]).code, 0, "nothing is due");
    let names = expired(&cluster, 3);
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, codes(&swept)), (3, vec!["sudden_jump"]), "{}", swept.told);
    assert!(names.iter().all(|name| cluster.lives(name)));
    let allowed = cluster.sweep(&[&policy, "--allow-mass-deletion=3"]);
    assert_eq!(allowed.code, 0, "{}", allowed.told);
}
