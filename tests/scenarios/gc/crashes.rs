//! Sweeps that are killed, and concurrent sweeps: rows and cluster agree afterwards.

use std::process::Stdio;

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::EventType::{Cleaned, CleanupIntended, CleanupSkipped};
use codex_k8s_tests::process::Process;
use http::Method;
use serde_json::json;

use crate::harness::{Cluster, Ns, SweepOutcome, minutes, soon, unique};

#[test]
fn after_a_kill_at_any_step_the_next_sweep_ends_the_work_with_no_row_missing_or_twice() {
    let cluster = Cluster::new();
    let mut deleted = Vec::new();
    for point in Point::ALL {
        let (goes, stays) = (unique("codex-issue"), unique("codex-issue"));
        cluster.create_namespace(&Ns::expired(&goes));
        cluster.create_namespace(&Ns::expired(&stays).label("codex-k8s.dev/namespace-purpose", "build"));
        let name = match point {
            Point::AfterList | Point::BeforeOutcome => "",
            Point::BeforeSkipped | Point::AfterSkipped => &stays,
            _ => &goes,
        };
        cluster.die(point, name, &[]);
        let swept = cluster.sweep(&["--no-lease"]);
        assert_eq!(swept.code, 0, "{point}: {}", swept.told);
        let events: Vec<_> = cluster.rows(&goes).into_iter().map(|(event, _)| event).collect();
        // The deletion was intended and not sent: it is the same decision again.
        assert_eq!(events, [CleanupIntended, Cleaned], "{point}");
        assert_eq!(cluster.rows(&stays).len(), 1, "{point}");
        deleted.push(goes);
    }
    cluster.agrees(&deleted);
}

#[test]
fn a_sweep_that_is_terminated_does_not_wait_for_a_deletion_and_the_next_one_completes_it() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let config_maps = format!("/api/v1/namespaces/{name}/configmaps");
    let block = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "block", "finalizers": ["example.org/block"]}});
    cluster.create(&config_maps, &block);
    let mut command = cluster.command(&["sweep", "--output=json"]);
    let sweep = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    soon("its deletion has begun", || (!cluster.lives(&name)).then_some(()));
    Process::of_child(&sweep).signal("TERM").unwrap();
    let swept = SweepOutcome::of(&sweep.wait_with_output().unwrap());
    assert!(swept.code == 1 && swept.told.contains("interrupted: nothing more was deleted"), "{swept:?}");
    let free = json!({"metadata": {"finalizers": null}});
    cluster.send(Method::PATCH, &format!("{config_maps}/block"), &free).object().unwrap();
    assert_eq!(cluster.sweep(&[]).code, 0);
    cluster.agrees(&[name]);
}

#[test]
fn an_intention_of_a_sweep_that_was_killed_ends_with_what_has_become_of_the_namespace() {
    let cluster = Cluster::new();
    let intended = (CleanupIntended, "ttl_expired".to_owned());
    let killed = || {
        let name = unique("codex-issue");
        cluster.create_namespace(&Ns::expired(&name));
        cluster.die(Point::AfterIntended, &name, &[]);
        name
    };
    let extended = killed();
    cluster.annotate(&extended, &json!({"codex-k8s.dev/hold": format!("{} looking into it", minutes(60))}));
    assert_eq!(cluster.sweep(&["--no-lease"]).code, 0);
    let skipped = |reason: &str| (CleanupSkipped, reason.to_owned());
    assert_eq!(
        cluster.rows(&extended),
        [intended.clone(), skipped("changed_since_decision"), skipped("held")]
    );

    let gone = killed();
    cluster.delete_wholly(&gone);
    assert_eq!(cluster.sweep(&["--no-lease"]).outcome(&gone), "deleted");
    assert_eq!(cluster.rows(&gone), [intended.clone(), (Cleaned, "ttl_expired".to_owned())]);

    // Another sweep may still work on it: a different decision is reported only ten minutes later, when none can be.
    let retained = killed();
    assert_eq!(cluster.sweep(&["--no-lease", "--disabled"]).code, 0);
    let disabled = skipped("cleanup_disabled_by_config");
    assert_eq!(cluster.rows(&retained), [intended.clone(), disabled.clone()]);
    let policy = cluster.policy("cleanup: {breaker: {maxClockSkew: 1h}}\n");
    let mut later = cluster.command(&["sweep", "--no-lease", "--disabled", &policy]);
    let later = later.env("CODEX_K8S_CLOCK_AHEAD", "660").output().unwrap();
    assert!(later.status.success(), "{}", String::from_utf8_lossy(&later.stderr));
    assert_eq!(cluster.rows(&retained), [intended, disabled, skipped("interrupted")]);
    // The next one may delete it.
    assert_eq!(cluster.sweep(&[]).outcome(&retained), "deleted");
}

fn many(cluster: &Cluster) -> Vec<String> {
    let names: Vec<_> = (0..15).map(|_| unique("codex-issue")).collect();
    for name in &names {
        cluster.create_namespace(&Ns::expired(name));
    }
    names
}

#[test]
fn sweeps_that_nothing_keeps_apart_write_the_rows_of_one() {
    let cluster = Cluster::new();
    let names = many(&cluster);
    let mut command = cluster.command(&["sweep", "--no-lease", "--output=json"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let sweeps: Vec<_> = (0..3).map(|_| command.spawn().unwrap()).collect();
    for sweep in sweeps {
        let swept = SweepOutcome::of(&sweep.wait_with_output().unwrap());
        assert_eq!(swept.code, 0, "{}", swept.told);
    }
    cluster.agrees(&names);
}

#[test]
fn two_sweeps_and_a_daemon_take_turns() {
    let cluster = Cluster::new();
    let names = many(&cluster);
    let daemon = cluster.daemon();
    let mut command = cluster.command(&["sweep", "--output=json", "--lease-timeout=5m"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let sweeps = [command.spawn().unwrap(), command.spawn().unwrap()];
    for sweep in sweeps {
        let swept = SweepOutcome::of(&sweep.wait_with_output().unwrap());
        assert_eq!(swept.code, 0, "{}", swept.told);
    }
    cluster.agrees(&names);
    daemon.end();
}

#[test]
fn a_sweep_that_another_one_holds_up_for_too_long_says_so_and_does_nothing() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let held = cluster.pause_sweeps(Point::AfterList, "", &[]);
    let second = cluster.sweep(&["--lease-timeout=1s"]);
    assert_eq!(second.code, 6, "{}", second.told);
    assert!(second.told.contains("another sweep is at work"), "{}", second.told);
    assert!(cluster.lives(&name));
    assert_eq!(held.go_on().code, 0);
    cluster.agrees(&[name]);
}
