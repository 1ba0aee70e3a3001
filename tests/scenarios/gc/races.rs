//! Changes during a sweep: each at a point where the sweep is paused, not by luck.

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::EventType::{Cleaned, CleanupIntended, CleanupSkipped};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, Ns, minutes, unique};

const BETWEEN_LIST_AND_READ: Point = Point::AfterList;
const BETWEEN_READ_AND_DELETE: Point = Point::AfterIntended;

/// A change by another client to a namespace.
type Change = fn(&Cluster, &str);

fn extend(cluster: &Cluster, name: &str) {
    let key = |key: &str| format!("codex-k8s.dev/namespace-lease-{key}");
    let lease = json!({key("updated-at"): minutes(0), key("expires-at"): minutes(60)});
    cluster.annotate(name, &lease);
}

fn hold(cluster: &Cluster, name: &str) {
    cluster.annotate(name, &json!({"codex-k8s.dev/hold": format!("{} looking into it", minutes(60))}));
}

fn strip_its_label(cluster: &Cluster, name: &str) {
    let patch = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": null}}});
    cluster.send(Method::PATCH, &format!("/api/v1/namespaces/{name}"), &patch).object().unwrap();
}

/// The platform's worker renews the lease, and then creates its Job.
fn restart_its_run(cluster: &Cluster, name: &str) {
    extend(cluster, name);
    start_a_job(cluster, name);
}

fn start_a_job(cluster: &Cluster, name: &str) {
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}});
    let job = json!({"metadata": {"name": "a"}, "spec": {"template": template}});
    cluster.create(&format!("/apis/batch/v1/namespaces/{name}/jobs"), &job);
}

fn delete(cluster: &Cluster, name: &str) {
    cluster.delete_wholly(name);
}

fn delete_and_create_again(cluster: &Cluster, name: &str) {
    cluster.delete_wholly(name);
    cluster.create_namespace(&Ns::fresh(name));
}

/// Changes a namespace at a point of a sweep; returns the sweep's result for it.
fn changed(cluster: &Cluster, point: Point, change: Change) -> (String, String, Value) {
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let of_sweep = point == BETWEEN_LIST_AND_READ;
    let held = cluster.pause_sweeps(point, if of_sweep { "" } else { &name }, &[]);
    change(cluster, &name);
    let swept = held.go_on();
    assert_eq!(swept.code, 0, "{}", swept.told);
    let outcome = swept.line(&name).unwrap()["outcome"].clone();
    (name, outcome["type"].as_str().unwrap().to_owned(), outcome["reason"].clone())
}

#[test]
fn what_changes_between_list_and_read_is_decided_about_anew() {
    let cluster = Cluster::new();
    let cases: [(Change, &str, bool); 5] = [
        (extend, "lease_lives", false),
        (hold, "held", true),
        (strip_its_label, "not_managed", false),
        (restart_its_run, "lease_lives", false),
        (start_a_job, "active_workloads_present", true),
    ];
    for (change, expected, told) in cases {
        let (name, outcome, reason) = changed(&cluster, BETWEEN_LIST_AND_READ, change);
        assert_eq!((&*outcome, reason), ("retained", expected.into()));
        assert!(cluster.lives(&name), "{expected}");
        let rows = if told { vec![(CleanupSkipped, expected.to_owned())] } else { vec![] };
        assert_eq!(cluster.rows(&name), rows, "{expected}");
        cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
    }
    cluster.agrees(&[]);
}

#[test]
fn what_is_deleted_or_created_again_between_list_and_read_is_left_alone() {
    let cluster = Cluster::new();
    let (name, outcome, _) = changed(&cluster, BETWEEN_LIST_AND_READ, delete);
    assert_eq!(outcome, "alreadyDeleted");
    assert_eq!(cluster.rows(&name), [(CleanupSkipped, "already_deleted".to_owned())]);
    let (name, outcome, reason) = changed(&cluster, BETWEEN_LIST_AND_READ, delete_and_create_again);
    assert_eq!((&*outcome, reason), ("retained", "lease_lives".into()));
    assert_eq!((cluster.lives(&name), cluster.rows(&name)), (true, vec![]));
    cluster.agrees(&[]);
}

#[test]
fn what_changes_between_read_and_deletion_is_given_up_and_decided_about_again() {
    let cluster = Cluster::new();
    let cases: [(Change, &str, bool); 4] = [
        (extend, "lease_lives", false),
        (hold, "held", true),
        (strip_its_label, "not_managed", false),
        (restart_its_run, "lease_lives", false),
    ];
    for (change, expected, told) in cases {
        let (name, outcome, reason) = changed(&cluster, BETWEEN_READ_AND_DELETE, change);
        assert_eq!((&*outcome, reason), ("retained", expected.into()));
        assert!(cluster.lives(&name), "{expected}");
        let mut rows = vec![
            (CleanupIntended, "ttl_expired".to_owned()),
            (CleanupSkipped, "changed_since_decision".to_owned()),
        ];
        rows.extend(told.then(|| (CleanupSkipped, expected.to_owned())));
        assert_eq!(cluster.rows(&name), rows, "{expected}");
        cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
    }
    cluster.agrees(&[]);
}

#[test]
fn what_is_deleted_or_created_again_between_read_and_deletion_is_not_reported_to_be_ours() {
    let cluster = Cluster::new();
    let intended = (CleanupIntended, "ttl_expired".to_owned());
    let given_up = (CleanupSkipped, "already_deleted".to_owned());
    for change in [delete, delete_and_create_again as Change] {
        let (name, outcome, _) = changed(&cluster, BETWEEN_READ_AND_DELETE, change);
        assert_eq!(outcome, "alreadyDeleted");
        assert_eq!(cluster.rows(&name), [intended.clone(), given_up.clone()]);
    }
    cluster.agrees(&[]);
}

#[test]
fn a_deletion_that_another_user_begins_meanwhile_is_waited_for() {
    let cluster = Cluster::new();
    let begin: Change = |cluster, name| {
        cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null).object().unwrap();
    };
    let (name, outcome, _) = changed(&cluster, BETWEEN_READ_AND_DELETE, begin);
    assert_eq!(outcome, "deleted");
    let ended = "ttl_expired".to_owned();
    assert_eq!(cluster.rows(&name), [(CleanupIntended, ended.clone()), (Cleaned, ended)]);
    cluster.agrees(&[name]);
}

#[test]
fn a_namespace_that_changes_without_meaning_goes_all_the_same() {
    let cluster = Cluster::new();
    let touch: Change = |cluster, name| cluster.annotate(name, &json!({"example.org/touched": "yes"}));
    let (name, outcome, _) = changed(&cluster, BETWEEN_READ_AND_DELETE, touch);
    assert_eq!(outcome, "deleted");
    let events: Vec<_> = cluster.rows(&name).into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, [CleanupIntended, CleanupSkipped, CleanupIntended, Cleaned]);
    cluster.agrees(&[name]);
}
