//! Rows about the beginning and the end of namespaces, and how long rows stay.

use std::process::Stdio;

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::EventType::{Cleaned, CleanupIntended, CleanupSkipped, Deleted, Prepared};
use codex_k8s_shared::audit::{AuditStore, Filter, Store as _};
use codex_k8s_shared::keys;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::{Cluster, Ns, SweepOutcome, minutes, soon, unique};

fn ready(name: &str) -> Ns {
    Ns::fresh(name).annotation(keys::BASELINE_READY_AT, &minutes(-1))
}

fn by_another(event: codex_k8s_shared::audit::EventType) -> (codex_k8s_shared::audit::EventType, String) {
    (event, "deleted_by_another_user".to_owned())
}

#[test]
fn a_namespace_that_another_user_has_deleted_leaves_one_row_however_often_sweeps_notice_it() {
    let cluster = Cluster::new();
    let (gone, again, of_worker, unlabelled) =
        (unique("codex-issue"), unique("codex-issue"), unique("codex-issue"), unique("codex-issue"));
    for name in [&gone, &again, &unlabelled] {
        cluster.create_namespace(&ready(name));
    }
    cluster.create_namespace(&Ns::fresh(&of_worker));
    cluster.append(Prepared, &of_worker);
    assert_eq!(cluster.sweep(&[]).code, 0);
    let prepared = (Prepared, String::new());
    assert_eq!(cluster.rows(&gone), std::slice::from_ref(&prepared));
    for name in [&gone, &again, &of_worker] {
        cluster.delete_wholly(name);
    }
    // A namespace of the same name is another one.
    cluster.create_namespace(&ready(&again));
    let label = serde_json::json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": null}}});
    let path = format!("/api/v1/namespaces/{unlabelled}");
    cluster.send(http::Method::PATCH, &path, &label);
    cluster.die(Point::AfterList, "", &[]);
    let mut command = cluster.command(&["sweep", "--no-lease", "--output=json"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let sweeps = [command.spawn().unwrap(), command.spawn().unwrap()];
    for sweep in sweeps {
        let swept = SweepOutcome::of(&sweep.wait_with_output().unwrap());
        assert_eq!(swept.code, 0, "{}", swept.told);
    }
    assert_eq!(cluster.sweep(&[]).code, 0);
    assert_eq!(cluster.rows(&gone), [prepared.clone(), by_another(Deleted)]);
    let of_again = cluster.rows(&again);
    assert_eq!(of_again.iter().filter(|(event, _)| *event == Deleted).count(), 1, "{of_again:?}");
    assert_eq!(of_again.iter().filter(|(event, _)| *event == Prepared).count(), 2, "{of_again:?}");
    assert_eq!(cluster.rows(&of_worker), [prepared.clone(), by_another(Deleted)]);
    assert_eq!(cluster.rows(&unlabelled), [prepared]);
}

#[test]
fn a_namespace_that_a_sweep_has_deleted_has_no_row_about_another_user_even_if_the_sweep_was_killed() {
    let cluster = Cluster::new();
    for point in [Point::AfterIntended, Point::AfterDelete, Point::BeforeCleaned] {
        let name = unique("codex-issue");
        cluster.create_namespace(&Ns::expired(&name).annotation(keys::BASELINE_READY_AT, &minutes(-90)));
        cluster.die(point, &name, &[]);
        for _ in 0..2 {
            assert_eq!(cluster.sweep(&["--no-lease"]).code, 0);
        }
        let events: Vec<_> = cluster.rows(&name).into_iter().map(|(event, _)| event).collect();
        assert_eq!(events, [Prepared, CleanupIntended, Cleaned], "{point}");
    }
}

#[test]
fn old_rows_are_removed_once_in_the_interval_of_the_policy_and_never_in_a_dry_run() {
    let cluster = Cluster::new();
    let old = |name: &str| {
        let address = format!("sqlite:{}", cluster.store().display()).parse().unwrap();
        let mut event = crate::harness::event(CleanupSkipped, name);
        event.created_at = Timestamp::now().checked_sub(SignedDuration::from_hours(49)).unwrap();
        cluster.block_on(async {
            let store = AuditStore::open(&address).await.unwrap();
            store.append(&event).await.unwrap();
            store.close().await;
        });
    };
    let count = |name: &str| cluster.rows(name).len();
    old("first");
    assert_eq!(cluster.sweep(&[]).report["prunedRows"], Value::Null);
    let policy = cluster.policy("auditStore: {retention: 48h, pruneInterval: 1h}\n");
    assert_eq!(cluster.sweep(&[&policy, "--dry-run"]).report["prunedRows"], Value::Null);
    assert_eq!(count("first"), 1, "a policy without retention, and a dry run, remove nothing");
    cluster.append(CleanupSkipped, "young");
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, &swept.report["prunedRows"]), (0, &Value::from(1)), "{}", swept.told);
    assert_eq!((count("first"), count("young")), (0, 1));
    old("second");
    assert_eq!(cluster.sweep(&[&policy]).report["prunedRows"], Value::Null);
    assert_eq!(count("second"), 1, "the interval has not passed");
}

#[test]
fn a_daemon_has_a_store_that_can_be_read_before_its_first_sweep() {
    let cluster = Cluster::new();
    let listed = cluster.run(&["audit", "list"]);
    assert_eq!(listed.status.code(), Some(5), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(!cluster.store().exists(), "reading creates nothing");
    let state = cluster.file("state");
    let mut command = cluster.command(&["audit", "list"]);
    let listed =
        command.env_remove("CODEX_K8S_GUARD_AUDIT_STORE").env("XDG_STATE_HOME", &state).output().unwrap();
    let told = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.code() == Some(2) && told.contains("--audit-store: Required value"), "{told}");
    assert!(!state.exists(), "nor does it create the folder");
    let daemon = cluster.daemon_with(&["--schedule=0 0 1 1 *"]);
    soon("the store exists", || cluster.store().exists().then_some(()));
    let listed = soon("rows can be listed", || {
        let listed = cluster.run(&["audit", "list"]);
        listed.status.success().then_some(listed)
    });
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "no rows\n");
    assert!(cluster.rows_of(&Filter::default()).is_empty());
    daemon.end();
}
