//! Replacements under load: three webhooks behind their Service, called by kube-apiserver.

use codex_k8s_tests::chart;
use codex_k8s_tests::process::Process;

use crate::harness::{INSTALL_NAMESPACE, Installed, machine_can};
use crate::load::{Asked, during};

const VALUES: &str = "serve: {replicas: 3}\n";
/// The number of requests that must succeed during a replacement.
const REQUESTS: u64 = 20_000;

fn restart(cluster: &Installed) {
    cluster.done(&["rollout", "restart", "-n", INSTALL_NAMESPACE, "deploy/codex-k8s-webhook"]);
    cluster.done(&[
        "rollout",
        "status",
        "-n",
        INSTALL_NAMESPACE,
        "deploy/codex-k8s-webhook",
        "--timeout=120s",
    ]);
}

fn upgrade(cluster: &Installed, values: &str, tag: &str) {
    cluster.release("upgrade", &chart::folder(), tag, values);
    cluster.done(&[
        "rollout",
        "status",
        "-n",
        INSTALL_NAMESPACE,
        "deploy/codex-k8s-webhook",
        "--timeout=120s",
    ]);
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn restarts_and_upgrades_under_load_lose_no_request() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    cluster.import("2");
    let restarted = during(&cluster, Asked::Guarded, REQUESTS, || restart(&cluster));
    restarted.without_a_failure("a rolling restart of three webhooks");
    let upgraded = during(&cluster, Asked::Guarded, REQUESTS, || {
        upgrade(&cluster, VALUES, "2");
        upgrade(&cluster, VALUES, "1");
    });
    upgraded.without_a_failure("an upgrade to another image, and back");
}

/// The servers on the node, as processes of this machine.
fn servers(cluster: &Installed) -> Vec<Process> {
    let all = Process::all_started_with("--verify-ca-bundle-of=codex-k8s-guard").unwrap();
    assert_eq!(all.len(), 3, "{}", cluster.happened());
    all
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn one_replica_that_hangs_is_left_out_and_the_others_answer() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    let hanging = servers(&cluster).remove(0);
    let ready = || {
        let found = cluster.get(&["deploy", "codex-k8s-webhook", "-n", INSTALL_NAMESPACE]).unwrap();
        found["status"]["readyReplicas"].as_u64().unwrap_or_default()
    };
    let meanwhile = during(&cluster, Asked::Guarded, 0, || {
        hanging.signal("STOP").unwrap();
        cluster.eventually("it is not ready any more", || (ready() == 2).then_some(()));
    });
    meanwhile.tell("until one that hangs is left out");
    // If the mutating webhook times out, the object continues unchanged, and the validating one refuses it.
    let refused = ["deadline exceeded", "Timeout", "NS001: Required value: must be"];
    let is_refused = |told: &str| refused.iter().any(|words| told.contains(words));
    assert!(meanwhile.failed.iter().all(|(_, told)| is_refused(told)), "{:?}", meanwhile.failed);
    let after = during(&cluster, Asked::Guarded, 5_000, || {});
    after.without_a_failure("while one hangs that is left out");
    hanging.signal("CONT").unwrap();
    cluster.eventually("it is ready again", || (ready() == 3).then_some(()));
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn with_every_replica_killed_at_once_what_is_not_guarded_goes_on() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    let killed = during(&cluster, Asked::Unguarded, 5_000, || {
        for server in servers(&cluster) {
            server.signal("KILL").unwrap();
        }
        // Guarded requests are refused meanwhile, not admitted.
        let run = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "codex-run-while-down"}});
        let mut refused = 0;
        cluster.eventually("they serve again", || {
            let ran = cluster
                .admin
                .run_with_input(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &run.to_string());
            let ran = ran.unwrap();
            assert!(!ran.succeeded() || ran.stdout.contains("codex-k8s-worker"), "{ran}");
            refused += u32::from(!ran.succeeded());
            ran.succeeded().then_some(())
        });
        println!("{refused} guarded requests were refused while nobody served");
    });
    killed.without_a_failure("what is not guarded, with every webhook killed");
}
