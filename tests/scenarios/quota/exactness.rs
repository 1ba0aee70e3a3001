//! Two hundred namespaces at once, with three webhooks and two reconcilers of which some are killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use codex_k8s_tests::Identity;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;

use crate::forwarder::forward_to;
use crate::harness::{Cluster, annotation, is_ready, is_refused, lives, names, person};

const LIMIT: usize = 20;
const CONCURRENT: usize = 200;

fn policy(limit: usize, mode: &str) -> String {
    format!(
        "quotas: {{cluster: {{max: {limit}}}, perProject: null, perRequester: null}}\nrules: {{QUOTA003: {mode}}}\n"
    )
}

/// Records the highest number of namespaces that work at the same time, until it is dropped.
struct Most {
    most: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl Most {
    fn begin(cluster: &Cluster) -> Self {
        let (most, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let api = Api::<Namespace>::all(cluster.client(&Identity::Admin));
        let begun = Self { most: Arc::clone(&most), enough: Arc::clone(&enough) };
        cluster.runtime.spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let managed = ListParams::default().labels("codex-k8s.dev/managed-by");
                if let Ok(list) = api.list(&managed).await {
                    most.fetch_max(
                        list.items.iter().filter(|found| is_ready(found)).count(),
                        Ordering::Relaxed,
                    );
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        begun
    }

    #[track_caller]
    fn is_at_most(&self, limit: usize) {
        let most = self.most.load(Ordering::Relaxed);
        assert!(most <= limit, "{most} worked at once");
    }
}

impl Drop for Most {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}

fn working(cluster: &Cluster) -> BTreeSet<String> {
    names(&cluster.all(), is_ready)
}

#[track_caller]
fn await_working(cluster: &Cluster, count: usize) -> BTreeSet<String> {
    let what = format!("{count} work");
    cluster.eventually(&what, || Some(working(cluster)).filter(|working| working.len() == count))
}

#[track_caller]
fn each_holds_one_reservation(cluster: &Cluster, working: &BTreeSet<String>) {
    cluster.eventually("each of those that work holds one reservation, and nobody else does", || {
        cluster.holders("cluster").iter().eq(working).then_some(())
    });
}

/// The pending namespaces, each of which has the reason in an annotation.
fn waiting(cluster: &Cluster) -> Vec<Namespace> {
    let all = cluster.all();
    all.into_iter().filter(|found| lives(found) && !is_ready(found)).collect()
}

#[test]
fn no_more_run_at_a_time_than_the_limit_even_if_programs_are_killed() {
    let cluster = Cluster::with_policy(&policy(LIMIT, "enforce"));
    let guard = &cluster.guard;
    let serves = [guard.one_more("serve-2", &[]).unwrap(), guard.one_more("serve-3", &[]).unwrap()];
    let second = guard.one_more_reconciler("reconcile-2", &["--no-leader-election".to_owned()]).unwrap();
    let addresses = [guard.webhook.address, serves[0].address, serves[1].address];
    guard.register_at(forward_to(addresses.to_vec())).unwrap();
    let most = Most::begin(&cluster);

    burst(&cluster, &[&serves[0].process, &second.process]);
    let working = await_working(&cluster, LIMIT);
    each_holds_one_reservation(&cluster, &working);
    say_why(&cluster);

    // More reconcilers, so that there are enough to admit namespaces.
    guard.write_policy(&policy(LIMIT, "warn")).unwrap();
    let third = guard.one_more_reconciler("reconcile-3", &["--no-leader-election".to_owned()]).unwrap();
    let more: Vec<_> = (0..20).map(|number| format!("codex-run-more-{number:02}")).collect();
    cluster.eventually("the early look only warns", || {
        cluster.create(&person("jane"), "codex-run-more", "p").ok()
    });
    assert!(cluster.create_all(&person("jane"), &more, "p").iter().all(|(_, created)| created.is_ok()));
    ten_go_and_ten_come(&cluster, &working);
    most.is_at_most(LIMIT);

    third.process.signal("KILL").unwrap();
    a_lowered_limit_evicts_no_one(&cluster);
    most.is_at_most(LIMIT);
}

/// Creates two hundred at once, while some processes are killed.
fn burst(cluster: &Cluster, victims: &[&codex_k8s_tests::process::Process]) {
    let names: Vec<_> = (0..CONCURRENT).map(|number| format!("codex-run-burst-{number:03}")).collect();
    let created = std::thread::scope(|scope| {
        let creating = scope.spawn(|| cluster.create_all(&person("jane"), &names, "p"));
        for victim in victims {
            let before = cluster.all().len();
            cluster.eventually("some more are there, or all are", || {
                (cluster.all().len() > before || creating.is_finished()).then_some(())
            });
            victim.signal("KILL").unwrap();
        }
        creating.join().unwrap()
    });
    let (admitted, refused): (Vec<_>, Vec<_>) = created.iter().partition(|(_, created)| created.is_ok());
    assert!(admitted.len() >= LIMIT && !refused.is_empty(), "{} admitted", admitted.len());
    for (_, created) in refused {
        is_refused(created, &["in this cluster, whose limit is 20", "the next lease ends at 20"]);
    }
}

#[track_caller]
fn say_why(cluster: &Cluster) {
    cluster.eventually("all that wait say why", || {
        let text = "a quota reservation in the cluster, whose limit is 20";
        let says = |found: &Namespace| annotation(found, "baseline-waits-for").starts_with(text);
        waiting(cluster).iter().all(says).then_some(())
    });
    for found in waiting(cluster) {
        let name = crate::harness::name(&found);
        let told = || cluster.events(&name).contains(&"QuotaExceeded".to_owned()).then_some(());
        cluster.eventually(&format!("an Event tells why {name} waits"), told);
        assert_eq!(annotation(&found, "namespace-lease-ttl"), "15m0s");
    }
}

/// Asserts that the oldest pending namespaces are admitted, and no others.
fn ten_go_and_ten_come(cluster: &Cluster, working: &BTreeSet<String>) {
    cluster.eventually("enough of them wait", || {
        let waiting = waiting(cluster);
        let told =
            waiting.iter().filter(|found| !annotation(found, "quota-pending-since").is_empty()).count();
        (told >= 20 && told == waiting.len()).then_some(())
    });
    let go: Vec<_> = working.iter().take(LIMIT / 2).cloned().collect();
    cluster.delete(&go);
    let gone = || go.iter().all(|name| cluster.read(name).is_none()).then_some(());
    cluster.eventually("ten are gone", gone);
    let now = await_working(cluster, LIMIT);
    assert_eq!(now.difference(working).count(), LIMIT / 2);
    assert!(go.iter().all(|name| !now.contains(name)));
    each_holds_one_reservation(cluster, &now);
}

fn a_lowered_limit_evicts_no_one(cluster: &Cluster) {
    let before = working(cluster);
    cluster.guard.write_policy(&policy(10, "warn")).unwrap();
    let limit =
        || cluster.guard.reconciler.health.metric("codex_k8s_reconcile_quota_limit{scope=\"cluster\"}");
    cluster.eventually("the new limit is in force", || (limit().ok() == Some(10)).then_some(()));
    let go: Vec<_> = before.iter().take(5).cloned().collect();
    cluster.delete(&go);
    cluster.eventually("five are gone", || go.iter().all(|name| cluster.read(name).is_none()).then_some(()));
    let fifteen = await_working(cluster, 15);
    each_holds_one_reservation(cluster, &fifteen);
    assert!(fifteen.is_subset(&before), "nobody came in");
    cluster.guard.write_policy(&policy(16, "warn")).unwrap();
    let sixteen = await_working(cluster, 16);
    assert!(fifteen.is_subset(&sixteen));
    each_holds_one_reservation(cluster, &sixteen);
}
