//! The reports and rows of a sweep, and the objects that it must not change.

use codex_k8s_shared::audit::EventType::{Cleaned, CleanupFailed, CleanupIntended, CleanupSkipped, Prepared};
use codex_k8s_shared::audit::Filter;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, INSTALL_NAMESPACE, Ns, minutes, unique};

fn install_objects(cluster: &Cluster) -> Vec<String> {
    ["/api/v1/namespaces/{}/configmaps", "/apis/coordination.k8s.io/v1/namespaces/{}/leases"]
        .iter()
        .flat_map(|path| {
            let list = cluster
                .send(Method::GET, &path.replace("{}", INSTALL_NAMESPACE), &Value::Null)
                .object()
                .unwrap();
            let items = list["items"].as_array().unwrap().clone();
            items
                .into_iter()
                .map(|item| format!("{} {}", item["metadata"]["name"], item["metadata"]["resourceVersion"]))
        })
        .collect()
}

#[test]
fn a_dry_run_reports_every_verdict_and_touches_nothing() {
    let cluster = Cluster::new();
    let (goes, stays) = (unique("codex-issue"), unique("codex-issue"));
    cluster.create_namespace(&Ns::expired(&goes));
    cluster.create_namespace(&Ns::fresh(&stays));
    let before = install_objects(&cluster);
    for args in [["--dry-run"], ["--dry-run=server"]] {
        let swept = cluster.sweep(&args);
        assert_eq!(swept.code, 0, "{}", swept.told);
        assert_eq!((swept.verdict(&goes), swept.outcome(&goes)), (("delete", "ttl_expired"), "wouldDelete"));
        assert_eq!((swept.verdict(&stays), swept.outcome(&stays)), (("wait", "lease_lives"), ""));
        assert!(cluster.lives(&goes));
    }
    assert_eq!(install_objects(&cluster), before);
    assert!(!cluster.store().exists());
    // With dryRun in the query and preconditions in the body, the API server would really have deleted it.
    let uid = cluster.read(&goes).unwrap()["metadata"]["uid"].clone();
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
    cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{goes}?dryRun=All"), &body).object().unwrap();
    assert!(!cluster.lives(&goes));
}

#[test]
fn with_cleanup_switched_off_nothing_goes_and_a_row_reports_how_it_would_by_hand() {
    let cluster = Cluster::new();
    let policy = cluster.policy("cleanup: {enabled: false}\n");
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    for args in [["--disabled"], [&policy]] {
        let swept = cluster.sweep(&args);
        assert_eq!((swept.code, swept.verdict(&name)), (0, ("retain", "cleanup_disabled_by_config")));
    }
    assert!(cluster.lives(&name));
    let rows = cluster.rows_of(&Filter { namespace: Some(name.clone()), ..Filter::default() });
    let payload = &rows[0].event.payload;
    assert_eq!((rows.len(), rows[0].event.event_type), (1, CleanupSkipped));
    assert_eq!(payload.reason.as_deref(), Some("cleanup_disabled_by_config"));
    assert_eq!(payload.cleanup_command, Some(format!("kubectl delete namespace {name}")));
}

#[test]
fn a_namespace_that_does_not_go_away_is_reported_with_what_blocks_it_and_ended_when_it_is_gone() {
    let cluster = Cluster::new();
    let policy = cluster.policy("cleanup: {waitForGone: 8s}\n");
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    let blocked = json!({"metadata": {"name": "a", "finalizers": ["example.org/block"]}});
    cluster.create(&format!("/api/v1/namespaces/{name}/configmaps"), &blocked);
    let swept = cluster.sweep(&[&policy]);
    assert_eq!((swept.code, swept.outcome(&name)), (1, "terminating"), "{}", swept.told);
    let blockers = swept.line(&name).unwrap()["outcome"]["blockers"].to_string();
    assert!(blockers.contains("example.org/block in 1 resource instances"), "{blockers}");
    let left_over = swept.report["leaks"].to_string();
    assert!(left_over.contains(&format!("about {name}")), "{left_over}");
    // The next one reports nothing new, because nothing else blocks.
    assert_eq!(cluster.sweep(&[&policy]).code, 1);
    let stuck = (CleanupFailed, "deletion_stuck".to_owned());
    let intended = (CleanupIntended, "ttl_expired".to_owned());
    assert_eq!(cluster.rows(&name), [intended.clone(), stuck.clone()]);

    let unblock = json!({"metadata": {"finalizers": null}});
    cluster
        .send(Method::PATCH, &format!("/api/v1/namespaces/{name}/configmaps/a"), &unblock)
        .object()
        .unwrap();
    let swept = cluster.sweep(&[]);
    assert_eq!((swept.code, swept.outcome(&name)), (0, "deleted"), "{}", swept.told);
    assert_eq!(cluster.rows(&name), [intended, stuck, (Cleaned, "ttl_expired".to_owned())]);
}

#[test]
fn what_still_names_a_namespace_that_is_gone_is_reported_with_the_command_that_fixes_it() {
    let cluster = Cluster::new();
    let gone = unique("codex-issue");
    let subject = json!({"kind": "ServiceAccount", "name": "codex-runner", "namespace": gone});
    let binding = |name: &str| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    cluster.create(&format!("{rbac}/clusterrolebindings"), &binding(&gone));
    cluster.create(&format!("{rbac}/namespaces/default/rolebindings"), &binding(&gone));
    let volume = json!({"metadata": {"name": gone}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
        "claimRef": {"namespace": gone, "name": "claim", "uid": "gone"}}});
    cluster.create("/api/v1/persistentvolumes", &volume);
    let released = json!({"status": {"phase": "Released"}});
    cluster
        .send(Method::PATCH, &format!("/api/v1/persistentvolumes/{gone}/status"), &released)
        .object()
        .unwrap();
    let reservation = json!({"metadata": {"name": format!("reservation-{gone}"), "labels": {
        "guard.codex-k8s.dev/reservation": "cluster", "guard.codex-k8s.dev/namespace-uid": "gone"}}});
    cluster
        .create(&format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/leases"), &reservation);

    let swept = cluster.sweep(&[]);
    let leaks = swept.report["leaks"].as_array().unwrap();
    let commands: Vec<_> = leaks.iter().map(|leak| leak["command"].as_str().unwrap()).collect();
    let expected = [
        format!("kubectl delete clusterrolebinding {gone}"),
        format!("kubectl delete persistentvolume {gone}"),
        format!("kubectl delete rolebinding --namespace default {gone}"),
        format!("kubectl delete lease --namespace {INSTALL_NAMESPACE} reservation-{gone}"),
    ];
    for command in &expected {
        assert!(commands.contains(&&**command), "no {command:?} in {commands:?}");
    }
    let kubectl = cluster.control_plane.kubectl(&codex_k8s_tests::Identity::Admin).unwrap();
    for command in &expected {
        let args: Vec<_> = command.split(' ').skip(1).collect();
        assert!(kubectl.run(&args).unwrap().succeeded(), "{command}");
    }
    assert_eq!(cluster.sweep(&[]).report["leaks"], json!([]));
}

#[test]
fn a_baseline_that_went_live_is_reported_unless_the_worker_has_reported_it() {
    let cluster = Cluster::new();
    let (ours, theirs) = (unique("codex-issue"), unique("codex-issue"));
    let ready = |name: &str| Ns::fresh(name).annotation("codex-k8s.dev/baseline-ready-at", &minutes(0));
    cluster.create_namespace(&ready(&ours));
    cluster.create_namespace(&ready(&theirs));
    cluster.append(Prepared, &theirs);
    for _ in 0..2 {
        assert_eq!(cluster.sweep(&[]).code, 0);
        for name in [&ours, &theirs] {
            let events: Vec<_> = cluster.rows(name).into_iter().map(|(event, _)| event).collect();
            assert_eq!(events, [Prepared], "{name}");
        }
    }
}

#[test]
fn an_empty_cluster_is_swept_as_well() {
    let cluster = Cluster::new();
    let list =
        cluster.send(Method::GET, "/api/v1/namespaces?labelSelector=codex-k8s.dev/managed-by", &Value::Null);
    for namespace in list.object().unwrap()["items"].as_array().unwrap() {
        cluster.delete_wholly(namespace["metadata"]["name"].as_str().unwrap());
    }
    let swept = cluster.sweep(&[]);
    assert_eq!((swept.code, &swept.report["namespaces"]), (0, &json!([])), "{}", swept.told);
    let told = String::from_utf8(cluster.run(&["sweep"]).stdout).unwrap();
    assert_eq!(told, "no managed namespaces\n\n0 managed, 0 due, 0 deleted\n");
}
