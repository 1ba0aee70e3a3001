//! The commands other than `sweep`, and their exit codes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::EventType;
use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::eventually;
use serde_json::{Value, json};

use crate::harness::{Cluster, Ns, minutes, soon, unique};

/// The output of a command that succeeded.
#[track_caller]
fn told(cluster: &Cluster, args: &[&str]) -> String {
    let ran = cluster.run(args);
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// The exit code and the error of a command.
fn refused(cluster: &Cluster, args: &[&str]) -> (i32, String) {
    let ran = cluster.run(args);
    (ran.status.code().unwrap(), String::from_utf8(ran.stderr).unwrap())
}

#[test]
fn explain_reports_why_a_namespace_stays_or_goes_or_has_gone() {
    let cluster = Cluster::new();
    let (goes, held, lives) = (unique("codex-issue"), unique("codex-issue"), unique("codex-issue"));
    cluster.create_namespace(&Ns::expired(&goes));
    let until = minutes(60);
    let why = format!("{until} the failed migration");
    cluster.create_namespace(&Ns::expired(&held).annotation("codex-k8s.dev/hold", &why));
    cluster.create_namespace(&Ns::fresh(&lives));
    let text = told(&cluster, &["explain", &format!("ns/{goes}")]);
    assert!(text.starts_with(&format!("{goes}: the next sweep deletes it: its lease has ended\n")), "{text}");
    assert!(text.contains("at work           nothing\n"), "{text}");
    assert_eq!(cluster.sweep(&[]).code, 0);
    let text = told(&cluster, &["explain", &format!("ns/{goes}")]);
    assert!(text.starts_with(&format!("{goes} does not exist: it was deleted at ")), "{text}");
    assert!(text.contains("run.namespace.cleanup_intended ttl_expired\n"), "{text}");
    let text = told(&cluster, &["explain", &format!("ns/{held}")]);
    assert!(text.starts_with(&format!("{held}: retained until {until} (in ")), "{text}");
    assert!(text.contains("a hold blocks its deletion: the failed migration"), "{text}");
    assert!(text.contains("run.namespace.cleanup_skipped held hold=the failed migration"), "{text}");
    // Now, and at a later time.
    let now = told(&cluster, &["explain", &format!("ns/{lives}"), "--output=json"]);
    let now: Value = serde_json::from_str(&now).unwrap();
    assert_eq!(now["verdict"]["reason"], "lease_lives");
    let later = told(&cluster, &["explain", &format!("ns/{lives}"), "--output=json", "--now", &minutes(120)]);
    let later: Value = serde_json::from_str(&later).unwrap();
    assert_eq!(
        (&later["verdict"]["verdict"], &later["verdict"]["reason"]),
        (&json!("delete"), &json!("ttl_expired"))
    );
    let text = told(&cluster, &["explain", "ns/default"]);
    assert!(text.starts_with("default: retained: it carries no managed-by label\n"), "{text}");
    let text = told(&cluster, &["explain", "ns/codex-issue-never"]);
    assert_eq!(text, "codex-issue-never does not exist, and no audit row records its deletion\n");
}

#[test]
fn audit_lists_what_was_requested_for_in_each_form_and_prunes_what_is_old() {
    let cluster = Cluster::new();
    let (one, two) = (unique("codex-issue"), unique("codex-issue"));
    for name in [&one, &two] {
        cluster.append(EventType::Prepared, name);
    }
    let text = told(&cluster, &["audit", "list"]);
    assert!(text.starts_with("TIME ") && text.lines().count() == 3, "{text}");
    let rows: Value =
        serde_json::from_str(&told(&cluster, &["audit", "list", &one, "--output=json"])).unwrap();
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["event_type"]),
        (1, &json!("run.namespace.prepared"))
    );
    assert_eq!(rows[0]["payload"]["namespace"], *one);
    let yaml = told(&cluster, &["audit", "list", "--run", &format!("run-{two}"), "--output=yaml"]);
    assert!(yaml.contains(&two) && !yaml.contains(&one), "{yaml}");
    assert_eq!(told(&cluster, &["audit", "list", "--event=cleaned"]), "no rows\n");
    assert_eq!(told(&cluster, &["audit", "list", "--until=1h"]), "no rows\n");
    assert_eq!(told(&cluster, &["audit", "list", "--since=1h", "--limit=1"]).lines().count(), 2);
    let (code, text) = refused(&cluster, &["audit", "list", "--event=vanished"]);
    assert!(code == 2 && text.contains("prepared, cleanup_intended, cleaned"), "{text}");
    assert!(told(&cluster, &["audit", "prune", "--older-than=1h"]).starts_with("removed 0 rows "));
    assert!(told(&cluster, &["audit", "prune", "--older-than=1ns"]).starts_with("removed 2 rows "));
    assert_eq!(told(&cluster, &["audit", "list"]), "no rows\n");
}

#[test]
fn audit_follows_rows_as_they_are_written() {
    let cluster = Cluster::new();
    let (before, after) = (unique("codex-issue"), unique("codex-issue"));
    cluster.append(EventType::Prepared, &before);
    let mut command = cluster.command(&["audit", "list", "--follow", "--output=json"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains(&before));
    cluster.append(EventType::Cleaned, &after);
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&line["payload"]["namespace"], &line["event_type"]),
        (&json!(after), &json!("run.namespace.cleaned"))
    );
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn schedule_reports_the_next_times_by_the_clock_of_a_zone() {
    let cluster = Cluster::new();
    let args = [
        "schedule",
        "30 2 * * *",
        "--time-zone=Europe/Berlin",
        "--after=2026-10-24T00:00:00Z",
        "-n2",
        "--output=json",
    ];
    let shown: Value = serde_json::from_str(&told(&cluster, &args)).unwrap();
    let expected = ["2026-10-24T02:30:00+02:00[Europe/Berlin]", "2026-10-25T02:30:00+02:00[Europe/Berlin]"];
    assert_eq!(shown["next"], json!(expected));
    let text = told(&cluster, &["schedule", "*/15 * * * *", "-n1"]);
    assert!(text.contains("minute 0, 15, 30 and 45") && text.lines().count() == 4, "{text}");
    for bad in ["* * * *", "61 * * * *", "0 0 30 2 *"] {
        assert_eq!(refused(&cluster, &["schedule", bad]).0, 2, "{bad}");
    }
}

#[test]
fn each_way_to_fail_has_its_code_and_says_what_it_is() {
    let cluster = Cluster::new();
    let nowhere = cluster.file("nowhere.kubeconfig");
    let server = format!("https://127.0.0.1:{}", free_port().unwrap());
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&nowhere, config.to_string()).unwrap();
    let ran = cluster.command(&["sweep"]).env("KUBECONFIG", &nowhere).output().unwrap();
    let text = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.code() == Some(4) && text.contains("failed to take the Lease"), "{text}");
    let ran = cluster.command(&["sweep", "--dry-run"]).env("KUBECONFIG", &nowhere).output().unwrap();
    assert_eq!(ran.status.code(), Some(4));
    let ran = cluster.command(&["sweep"]).env("KUBECONFIG", cluster.file("absent")).output().unwrap();
    assert_eq!(ran.status.code(), Some(4), "{}", String::from_utf8_lossy(&ran.stderr));

    let bad = cluster.policy("cleanup: {gracious: 5m}\n");
    let (code, text) = refused(&cluster, &["sweep", &bad]);
    assert!(code == 2 && text.contains("gracious"), "{text}");
    assert_eq!(refused(&cluster, &["sweep", "--output=xml"]).0, 2);
    assert_eq!(refused(&cluster, &["sweep", "--lease-timeout=soon"]).0, 2);
    let (code, text) = refused(&cluster, &["sweep", "--audit-store=mysql://u:secret@h/d"]);
    assert!(code == 2 && text.contains("expected sqlite:FILE") && !text.contains("secret"), "{text}");
    let (code, text) = refused(&cluster, &["sweep", "--runs=http://u:secret@h/d"]);
    assert!(code == 2 && !text.contains("secret"), "{text}");
    let (code, text) = refused(&cluster, &["sweep", "--guard-namespace=absent"]);
    assert!(code == 4 && text.contains("does namespace absent exist?"), "{text}");
    let (code, text) = refused(&cluster, &["audit", "list", "--audit-store=sqlite:/dev/full"]);
    assert_eq!(code, 5, "{text}");
}

#[test]
fn reading_rows_makes_no_store_that_the_collector_could_not_write() {
    let cluster = Cluster::new();
    let file = cluster.file("never.db");
    let store = format!("--audit-store=sqlite:{}", file.display());
    for args in [["audit", "list", &store].as_slice(), &["audit", "prune", "--older-than=1h", &store]] {
        let (code, text) = refused(&cluster, args);
        let expected =
            format!("found no audit rows at sqlite:{}: no sweep has written there yet", file.display());
        assert!(code == 5 && text.contains(&expected), "{text}");
    }
    let text = told(&cluster, &["explain", "ns/codex-issue-never", &store]);
    assert_eq!(text, "codex-issue-never does not exist, and no audit row records its deletion\n");
    assert!(!file.exists());
    let text = told(&cluster, &["audit", "install", &store]);
    assert_eq!(text, format!("rows can be kept at sqlite:{}\n", file.display()));
    assert_eq!(told(&cluster, &["audit", "list", &store]), "no rows\n");
}

#[test]
fn a_daemon_that_ends_its_last_sweep_is_alive_and_no_longer_ready() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let (daemon, release) = cluster.daemon_with_paused_sweeps(Point::AfterList);
    assert!(daemon.health.get("/readyz").unwrap().ends_with("ok\n"));
    daemon.signal();
    soon("it is not ready", || {
        daemon.health.get("/readyz").ok().filter(|answer| answer.contains("not ready: not draining"))
    });
    assert!(daemon.health.get("/livez").unwrap().ends_with("ok\n"));
    std::fs::write(release, "").unwrap();
    daemon.await_end();
    assert_eq!(cluster.read(&name), None);
}

#[test]
fn a_daemon_sweeps_on_its_schedule_and_shows_the_last_sweep_as_metrics() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let daemon = cluster.daemon();
    soon("the namespace is gone", || cluster.read(&name).is_none().then_some(()));
    let health = daemon.health;
    let shown = || {
        health
            .get("/metrics")
            .ok()
            .filter(|text| text.contains("codex_k8s_gc_last_success_timestamp_seconds"))
    };
    let text = eventually("a sweep is shown", Duration::from_secs(30), shown).unwrap();
    for line in ["codex_k8s_gc_last_sweep_result{result=\"succeeded\"} 1", "codex_k8s_gc_breaker_open 0"] {
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
    }
    assert!(health.get("/livez").unwrap().ends_with("ok\n"));
    daemon.end();
    cluster.agrees(&[name]);
}
