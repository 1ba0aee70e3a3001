//! An API server and a store that fail: nothing is deleted without a row, and each error names its cause.

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::EventType::{Cleaned, CleanupFailed, CleanupIntended};
use codex_k8s_tests::Identity;
use codex_k8s_tests::fault_proxy::{Asked, Fate, FaultProxy};
use http::Method;

use crate::harness::{Cluster, Ns, SweepOutcome, unique};

/// Sweeps through a proxy.
fn sweep_through(
    cluster: &Cluster,
    rule: impl FnMut(&Asked) -> Fate + Send + 'static,
) -> (SweepOutcome, FaultProxy) {
    let proxy = cluster.block_on(async {
        let client = cluster.control_plane.client(&Identity::Admin).await.unwrap();
        FaultProxy::start(client, rule).await.unwrap()
    });
    let file = cluster.file("proxied.kubeconfig");
    std::fs::write(&file, proxy.kubeconfig()).unwrap();
    let mut command = cluster.command(&["sweep", "--output=json", "--no-lease"]);
    let swept = SweepOutcome::of(&command.env("KUBECONFIG", file).output().unwrap());
    (swept, proxy)
}

fn is_list(asked: &Asked) -> bool {
    asked.path.starts_with("/api/v1/namespaces?") && asked.path.contains("labelSelector")
}

fn is_deletion(asked: &Asked, name: &str) -> bool {
    asked.method == Method::DELETE && asked.path.starts_with(&format!("/api/v1/namespaces/{name}"))
}

fn expired(cluster: &Cluster) -> String {
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::expired(&name));
    name
}

#[test]
fn a_list_that_expires_in_the_middle_is_begun_again() {
    let cluster = Cluster::new();
    let names: Vec<_> = (0..5).map(|_| expired(&cluster)).collect();
    let mut pages = 0;
    let (swept, proxy) = sweep_through(&cluster, move |asked| {
        if !is_list(asked) {
            return Fate::Pass;
        }
        pages += 1;
        // Small pages, of which the third one comes too late.
        if pages == 3 {
            Fate::Answer(410, None)
        } else {
            Fate::PassAs(asked.path.replace("limit=500", "limit=2"))
        }
    });
    assert_eq!(swept.code, 0, "{}", swept.told);
    cluster.agrees(&names);
    let lists: Vec<_> = proxy.asked().into_iter().filter(is_list).collect();
    assert!(
        lists.len() > 5 && lists.iter().all(|asked| !asked.path.contains("resourceVersion=")),
        "{lists:?}"
    );
    assert_eq!(lists.iter().filter(|asked| !asked.path.contains("continue=")).count(), 2);
}

#[test]
fn a_list_that_fails_ends_the_sweep_before_anything_is_deleted() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let (swept, _) =
        sweep_through(&cluster, |asked| if is_list(asked) { Fate::Answer(500, None) } else { Fate::Pass });
    assert_eq!(swept.code, 4, "{}", swept.told);
    assert!(swept.told.contains("failed to list the managed namespaces"), "{}", swept.told);
    assert_eq!((cluster.lives(&name), cluster.rows(&name)), (true, vec![]));
    // The next one finds the due namespace.
    assert_eq!(cluster.sweep(&[]).outcome(&name), "deleted");
}

#[test]
fn what_works_in_a_namespace_and_cannot_be_seen_keeps_it_and_ends_the_sweep() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let path = format!("/apis/apps/v1/namespaces/{name}/daemonsets");
    let (swept, _) = sweep_through(&cluster, move |asked| {
        if asked.path.starts_with(&path) { Fate::Answer(403, None) } else { Fate::Pass }
    });
    assert_eq!(swept.code, 4, "{}", swept.told);
    assert!(swept.told.contains(&format!("failed to list the daemonsets of {name}")), "{}", swept.told);
    assert_eq!((cluster.lives(&name), cluster.rows(&name)), (true, vec![]));
}

#[test]
fn a_deletion_that_is_to_come_again_later_does() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let (deleted, mut refused) = (name.clone(), 0);
    let (swept, proxy) = sweep_through(&cluster, move |asked| {
        if is_deletion(asked, &deleted) && refused < 2 {
            refused += 1;
            return Fate::Answer(429, Some(1));
        }
        Fate::Pass
    });
    assert_eq!((swept.code, swept.outcome(&name)), (0, "deleted"), "{}", swept.told);
    assert_eq!(proxy.asked().iter().filter(|asked| is_deletion(asked, &name)).count(), 3);
    cluster.agrees(&[name]);
}

#[test]
fn a_deletion_that_fails_is_reported_and_made_by_the_next_sweep() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let deleted = name.clone();
    let (swept, _) = sweep_through(&cluster, move |asked| {
        if is_deletion(asked, &deleted) { Fate::Answer(500, None) } else { Fate::Pass }
    });
    assert_eq!((swept.code, swept.outcome(&name)), (1, "failed"), "{}", swept.told);
    assert!(cluster.lives(&name));
    assert_eq!(cluster.sweep(&[]).code, 0);
    let events: Vec<_> = cluster.rows(&name).into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, [CleanupIntended, CleanupFailed, CleanupIntended, Cleaned]);
    cluster.agrees(&[name]);
}

#[test]
fn a_deletion_whose_answer_is_lost_is_reported_by_the_namespace_itself() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let deleted = name.clone();
    let (swept, _) = sweep_through(&cluster, move |asked| {
        if is_deletion(asked, &deleted) { Fate::LoseAnswer(500) } else { Fate::Pass }
    });
    assert_eq!((swept.code, swept.outcome(&name)), (0, "deleted"), "{}", swept.told);
    cluster.agrees(&[name]);
}

#[test]
fn an_api_server_that_is_started_anew_while_a_namespace_goes_is_waited_for() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let held = cluster.pause_sweeps(Point::AfterDelete, &name, &["--no-lease"]);
    cluster.control_plane.kill_api_server().unwrap();
    let swept = std::thread::scope(|scope| {
        let swept = scope.spawn(|| held.go_on());
        cluster.control_plane.start_api_server().unwrap();
        swept.join().unwrap()
    });
    assert_eq!((swept.code, swept.outcome(&name)), (0, "deleted"), "{}", swept.told);
    cluster.agrees(&[name]);
}

#[test]
fn an_api_server_that_is_gone_leaves_the_intention_to_the_next_sweep() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let held = cluster.pause_sweeps(Point::AfterIntended, &name, &["--no-lease"]);
    cluster.control_plane.kill_api_server().unwrap();
    let swept = held.go_on();
    cluster.control_plane.start_api_server().unwrap();
    assert_eq!(swept.code, 4, "{}", swept.told);
    assert!(cluster.lives(&name));
    assert_eq!(cluster.rows(&name), [(CleanupIntended, "ttl_expired".to_owned())]);
    assert_eq!(cluster.sweep(&["--no-lease"]).outcome(&name), "deleted");
    cluster.agrees(&[name]);
}

#[test]
fn a_store_that_cannot_be_written_to_deletes_nothing() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let held = cluster.pause_sweeps(Point::BeforeIntended, &name, &[]);
    let lock = cluster.lock_store();
    let swept = held.go_on();
    assert_eq!(swept.code, 5, "{}", swept.told);
    assert!(swept.told.contains("the audit store is locked by another process"), "{}", swept.told);
    assert!(cluster.lives(&name));
    drop(lock);
    assert_eq!(cluster.rows(&name), []);
    assert_eq!(cluster.sweep(&[]).outcome(&name), "deleted");
}

#[test]
fn a_store_that_is_none_ends_the_sweep_before_it_begins() {
    let cluster = Cluster::new();
    let name = expired(&cluster);
    let garbage = cluster.file("garbage.db");
    std::fs::write(&garbage, "this is no database. ".repeat(300)).unwrap();
    for (store, told) in [
        (garbage.display().to_string(), "the audit store is damaged, or is no audit store"),
        (cluster.file("absent/audit.db").display().to_string(), "failed to open the audit store"),
        ("/dev/full".to_owned(), "audit store"),
    ] {
        let swept = cluster.sweep(&[&format!("--audit-store=sqlite:{store}")]);
        assert_eq!(swept.code, 5, "{store}: {}", swept.told);
        assert!(swept.told.contains(told), "{store}: {}", swept.told);
        assert!(cluster.lives(&name));
    }
}
