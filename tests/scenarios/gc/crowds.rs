//! Many namespaces of one person, created at once with short leases, next to those of others.

use std::collections::BTreeSet;
use std::process::Command;

use codex_k8s_shared::audit::{AuditStore, EventType, Filter, Store};
use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::{Guard, Identity, eventually};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::harness::{SweepOutcome, TIMEOUT, playground};

const CROWD: usize = 40;
const MOST: usize = 25;
const POLICY: &str = "\
lease: {minTtl: 1s}
quotas: {perRequester: {max: 40}}
cleanup: {grace: 1s, breaker: {maxDeletions: 25, maxSharePercent: 10, minForShare: 5, maxGrowthFactor: 1}}
";

struct Crowded {
    guard: Guard,
    runtime: Runtime,
}

impl Crowded {
    fn new(policy: &str) -> Self {
        let guard = Guard::start_with_policy(playground(), policy).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { guard, runtime }
    }

    /// Creates namespaces at once, with leases of an hour that end at a time. Returns the codes of the answers.
    fn create(&self, identity: &Identity, names: &[String], end: Timestamp) -> Vec<u16> {
        let api =
            Api::<Namespace>::all(self.runtime.block_on(self.guard.control_plane.client(identity)).unwrap());
        let start = end.checked_sub(SignedDuration::from_hours(1)).unwrap();
        self.runtime.block_on(async {
            let mut creations = JoinSet::new();
            for name in names {
                let annotations = json!({
                    "codex-k8s.dev/namespace-lease-ttl": "1h0m0s",
                    "codex-k8s.dev/namespace-lease-updated-at": start.to_string(),
                    "codex-k8s.dev/namespace-lease-expires-at": end.to_string(),
                });
                let object = json!({"metadata": {"name": name, "annotations": annotations}});
                let (api, object) = (api.clone(), serde_json::from_value(object).unwrap());
                creations.spawn(async move {
                    match api.create(&PostParams::default(), &object).await {
                        Ok(_) => 201,
                        Err(kube::Error::Api(status)) => status.code,
                        Err(error) => panic!("{error:?}"),
                    }
                });
            }
            creations.join_all().await
        })
    }

    fn left(&self) -> BTreeSet<String> {
        let client = self.runtime.block_on(self.guard.control_plane.client(&Identity::Admin)).unwrap();
        let managed = ListParams::default().labels("codex-k8s.dev/managed-by");
        let listed = self.runtime.block_on(Api::<Namespace>::all(client).list(&managed)).unwrap();
        listed.items.into_iter().filter_map(|found| found.metadata.name).collect()
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.guard.file("audit.db").display())
    }

    fn sweep(&self) -> SweepOutcome {
        let mut command = Command::new(playground());
        command
            .args(["guard", "sweep", "--local", "--output=json"])
            .arg(format!("--policy={}", self.guard.file("policy.yaml").display()))
            .env("KUBECONFIG", self.guard.control_plane.kubeconfig(&Identity::collector()).unwrap())
            .env("CODEX_K8S_GUARD_AUDIT_STORE", self.store());
        SweepOutcome::of(&command.output().unwrap())
    }

    /// The namespaces whose deletion is in the rows.
    fn cleaned(&self) -> BTreeSet<String> {
        let address = self.store().parse().unwrap();
        let filter = Filter { event_type: Some(EventType::Cleaned), ..Filter::default() };
        let rows = self.runtime.block_on(async {
            let store = AuditStore::open(&address).await.unwrap();
            let rows = store.rows(&filter).await.unwrap();
            store.close().await;
            rows
        });
        rows.into_iter().map(|row| row.event.payload.namespace).collect()
    }
}

fn soon(seconds: i64) -> Timestamp {
    let now = Timestamp::now().round(Unit::Second).unwrap();
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("codex-issue-{kind}-{number:02}")).collect()
}

fn person(name: &str) -> Identity {
    Identity::user(name).in_group(EVERY_RIGHT)
}

#[test]
fn forty_short_leases_of_one_user_do_not_stop_the_cleanup_of_others() {
    let cluster = Crowded::new(POLICY);
    let (others, many, retained) = (names("others", 3), names("crowd", CROWD), names("lives", 1));
    let swept = cluster.sweep();
    assert_eq!(
        (swept.code, swept.report["namespaces"].as_array().unwrap().len()),
        (0, 0),
        "nothing to compare with"
    );
    // The others' leases end one second earlier.
    let end = soon(8);
    let before = end.checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(cluster.create(&Identity::worker(), &others, before), [201; 3]);
    assert_eq!(cluster.create(&person("mallory"), &many, end), [201; CROWD]);
    assert_eq!(cluster.create(&person("joe"), &retained, soon(3000)), [201]);
    eventually("all these leases are over", TIMEOUT, || (Timestamp::now() > soon_after(end)).then_some(()))
        .unwrap();

    let swept = cluster.sweep();
    assert_eq!((swept.code, &swept.report["breaker"]), (0, &json!([])), "{}", swept.told);
    let of = |outcome: &str| -> BTreeSet<String> {
        let lines = swept.report["namespaces"].as_array().unwrap().iter();
        let found = lines.filter(|line| line["outcome"]["type"] == outcome);
        found.map(|line| line["namespace"].as_str().unwrap().to_owned()).collect()
    };
    let (deleted, postponed) = (of("deleted"), of("postponed"));
    assert_eq!((deleted.len(), postponed.len()), (MOST, 3 + CROWD - MOST), "{swept:?}");
    assert!(others.iter().all(|name| deleted.contains(name)), "the oldest go first: {deleted:?}");
    assert_eq!(cluster.cleaned(), deleted);
    assert_eq!(cluster.left(), postponed.iter().chain(&retained).cloned().collect());

    let swept = cluster.sweep();
    assert_eq!((swept.code, &swept.report["breaker"]), (0, &json!([])), "{}", swept.told);
    assert_eq!(cluster.left(), retained.into_iter().collect());
    assert_eq!(cluster.cleaned(), others.into_iter().chain(many).collect());
}

/// A time after the grace of a second, and the half second that the API server's clock may be behind.
fn soon_after(end: Timestamp) -> Timestamp {
    end.checked_add(SignedDuration::from_secs(3)).unwrap()
}

#[test]
fn a_person_has_no_more_namespaces_than_the_default_limit_and_the_platform_any_number() {
    let cluster = Crowded::new("lease: {minTtl: 1s}\n");
    let (persons, platforms) = (names("persons", 25), names("platforms", 30));
    assert_eq!(cluster.create(&Identity::worker(), &platforms, soon(3000)), [201; 30]);
    assert_eq!(cluster.create(&person("mallory"), &persons, soon(3000)), [201; 25]);
    let more = names("more", 1);
    eventually("the cache has them all", TIMEOUT, || {
        (cluster.create(&person("mallory"), &more, soon(3000)) == [403]).then_some(())
    })
    .unwrap();
    assert_eq!(cluster.create(&person("joe"), &names("joes", 1), soon(3000)), [201]);
    assert_eq!(cluster.create(&Identity::worker(), &names("platforms-31", 1), soon(3000)), [201]);
    let left = cluster.left();
    assert!(!left.contains(&more[0]) && left.len() == 57, "{left:?}");
}
