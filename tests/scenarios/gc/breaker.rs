//! Sweeps that cannot be right: nothing is deleted, and it is said what to do.

use codex_k8s_shared::audit::{EventType, Filter};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, HOME, Ns, Swept, unique};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

fn codes(swept: &Swept) -> Vec<&str> {
    let tripped = swept.report["breaker"].as_array().unwrap();
    tripped.iter().map(|tripped| tripped["code"].as_str().unwrap()).collect()
}

fn expired(cluster: &Cluster, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|_| unique("codex-issue")).collect();
    for name in &names {
        cluster.create_namespace(&Ns::expired(name));
    }
    names
}

/// A cluster in which nothing is due: tests that count begin with one.
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

fn last_sweep(cluster: &Cluster) -> Value {
    let path = format!("/api/v1/namespaces/{HOME}/configmaps/codex-k8s-gc-last-sweep");
    let noted = cluster.send(Method::GET, &path, &Value::Null).object().unwrap();
    serde_json::from_str(noted["data"]["sweep.json"].as_str().unwrap()).unwrap()
}

#[test]
fn a_clock_that_is_wrong_by_an_hour_or_a_year_deletes_nothing_and_nobody_can_allow_it() {
    let cluster = Cluster::new();
    let (goes, lives) = (unique("codex-issue"), unique("codex-issue"));
    cluster.create_namespace(&Ns::expired(&goes));
    cluster.create_namespace(&Ns::fresh(&lives));
    for ahead in [HOUR, -HOUR, YEAR, -YEAR] {
        let mut command = cluster.command(&["sweep", "--output=json", "--allow-mass-deletion=1000"]);
        let swept = Swept::of(&command.env("CODEX_K8S_CLOCK_AHEAD", ahead.to_string()).output().unwrap());
        assert_eq!((swept.code, codes(&swept)), (3, vec!["clock_skew"]), "{ahead}: {}", swept.told);
        assert_eq!(swept.report["breaker"][0]["canBeAllowed"], false);
        assert!(cluster.lives(&goes) && cluster.lives(&lives), "{ahead}");
    }
    let mut told = cluster.command(&["sweep"]);
    let told = told.env("CODEX_K8S_CLOCK_AHEAD", HOUR.to_string()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("s ahead of the API server's; 30 s at most are trusted"), "{told}");
    assert!(told.contains("nothing will be until that is mended"), "{told}");
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
        (Some("refused"), &json!(["too_many_deletions"]))
    );
    assert_eq!((&noted["due"], &noted["deleted"]), (&json!(3), &json!(0)));
    let told = String::from_utf8(cluster.run(&["sweep", &policy]).stdout).unwrap();
    assert!(told.contains("3 namespaces are due; one sweep deletes 2 at most"), "{told}");
    assert!(told.contains("codex-k8s-gc sweep --allow-mass-deletion=3"), "{told}");
    let events = cluster.send(Method::GET, &format!("/api/v1/namespaces/{HOME}/events"), &Value::Null).body;
    assert!(events.to_string().contains("BreakerTripped"), "{events}");

    let swept = cluster.sweep(&[&policy, "--allow-mass-deletion=3"]);
    assert_eq!((swept.code, codes(&swept)), (0, vec![]), "{}", swept.told);
    cluster.agrees(&names);
    let noted = last_sweep(&cluster);
    assert_eq!((noted["result"].as_str(), &noted["deleted"]), (Some("done"), &json!(3)));
    assert_eq!(noted["lastSuccess"], noted["finishedAt"]);
}

#[test]
fn too_large_a_share_is_what_a_bad_policy_or_selector_makes_of_all_leases() {
    let cluster = Cluster::new();
    let names = expired(&cluster, 2);
    let policy = cluster.policy("cleanup: {breaker: {maxSharePercent: 1, shareFrom: 2}}\n");
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, codes(&swept)), (3, vec!["too_large_a_share"]), "{}", swept.told);
    assert!(names.iter().all(|name| cluster.lives(name)));
}

#[test]
fn a_sudden_jump_against_the_last_sweep_is_refused() {
    let cluster = tidy();
    let policy = cluster.policy("cleanup: {breaker: {maxJump: 1, shareFrom: 1, maxSharePercent: 100}}\n");
    assert_eq!(cluster.sweep(&[&policy]).code, 0, "nothing is due");
    let names = expired(&cluster, 3);
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, codes(&swept)), (3, vec!["sudden_jump"]), "{}", swept.told);
    assert!(names.iter().all(|name| cluster.lives(name)));
    let allowed = cluster.sweep(&[&policy, "--allow-mass-deletion=3"]);
    assert_eq!(allowed.code, 0, "{}", allowed.told);
}
