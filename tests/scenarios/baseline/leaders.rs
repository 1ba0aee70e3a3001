//! Two reconcilers at once, a restart, and a handover.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Guard, Health, Identity, Reconciler, eventually};
use serde_json::{Value, json};

use crate::harness::{Client, TIMEOUT, at, playground};

const MANY: usize = 100;

fn looks(health: Health) -> u64 {
    health.sum("codex_k8s_reconcile_reconcile_total").unwrap()
}

fn writes(health: Health) -> u64 {
    health.sum("codex_k8s_reconcile_writes_total").unwrap()
        + health.sum("codex_k8s_reconcile_gates_total").unwrap()
}

/// The reads and writes of baseline objects and namespaces that the API server has answered, except for watches.
fn requests(client: &Client<'_>) -> u64 {
    let resources =
        ["serviceaccounts", "roles", "rolebindings", "resourcequotas", "limitranges", "namespaces"]
            .map(|resource| format!("resource=\"{resource}\""));
    let verbs = ["GET", "LIST", "APPLY", "PATCH", "DELETE"].map(|verb| format!("verb=\"{verb}\""));
    let text = client.text("/metrics");
    let counted = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("subresource=\"\"")
            && resources.iter().any(|resource| line.contains(resource))
            && verbs.iter().any(|verb| line.contains(verb))
    };
    text.lines().filter(counted).filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Waits until all reconcilers have inspected all namespaces, after an irrelevant change to each.
fn all_look(client: &Client<'_>, names: &[String], healths: &[Health]) {
    let before: Vec<_> = healths.iter().map(|health| looks(*health)).collect();
    for name in names {
        client.patch(
            &at(name),
            &json!({"metadata": {"annotations": {"example.dev/touched": crate::harness::unique()}}}),
        );
    }
    let due = u64::try_from(names.len()).unwrap();
    eventually("all were looked at", TIMEOUT, || {
        healths.iter().zip(&before).all(|(health, before)| looks(*health) >= before + due).then_some(())
    })
    .unwrap();
}

fn await_gates(client: &Client<'_>, names: &[String]) {
    for name in names {
        client.await_gate(name);
    }
}

fn end(reconciler: &Reconciler) {
    reconciler.process.signal("TERM").unwrap();
    let ended = || (!reconciler.process.is_running()).then_some(());
    eventually("it has ended", Duration::from_secs(10), ended).unwrap();
}

#[test]
fn a_restart_two_at_once_and_a_handover_write_nothing_that_is_there() {
    let guard = Guard::start_with_policy(playground(), WITHOUT_QUOTAS).unwrap();
    let client = Client::new(&guard, &Identity::developer());
    let (begun, before) = (Instant::now(), requests(&client));
    let names: Vec<_> = (0..MANY).map(|_| client.namespace()).collect();
    await_gates(&client, &names);
    let took = begun.elapsed();
    let polls = u64::try_from(names.len()).unwrap();
    let each = (requests(&client) - before).saturating_sub(polls) / polls;
    println!(
        "{MANY} namespaces were ready after {} ms, with about {each} requests each, our own polls among them",
        took.as_millis()
    );
    // Eleven of them are the lists of the inspection before the gate opens.
    assert!(each <= 56, "{each} requests for a namespace");

    // The Lease is released: the next one leads at once, and has nothing to do.
    let begun = Instant::now();
    end(&guard.reconciler);
    let next = guard.one_more_reconciler("next", &[]).unwrap();
    eventually("the next one looked at all", TIMEOUT, || (looks(next.health) >= polls).then_some(()))
        .unwrap();
    println!("a restart: all {MANY} were looked at again after {} ms", begun.elapsed().as_millis());
    assert_eq!(writes(next.health), 0);
    end(&next);

    let two = ["one", "two"]
        .map(|name| guard.one_more_reconciler(name, &["--no-leader-election".to_owned()]).unwrap());
    let healths = two.each_ref().map(|one| one.health);
    let names: Vec<_> = (0..20).map(|_| client.namespace()).collect();
    await_gates(&client, &names);
    all_look(&client, &names, &healths);
    let written = healths.map(writes);
    all_look(&client, &names, &healths);
    assert_eq!(healths.map(writes), written, "with two at once, writing ends");
    println!("two at once wrote {written:?} for 20 new namespaces, and then nothing");
    let kinds: BTreeSet<_> = names
        .iter()
        .map(|name| {
            client.get(&format!("{}/resourcequotas", at(name)))["items"].as_array().map_or(0, Vec::len)
        })
        .collect();
    assert_eq!(kinds, BTreeSet::from([1]));

    // Killed while twenty more are reconciled.
    let names: Vec<_> = (0..20).map(|_| client.namespace()).collect();
    for one in &two {
        one.process.signal("KILL").unwrap();
    }
    for name in &names {
        let open = client.is_open(name);
        let quota = client.find(&format!("{}/resourcequotas/codex-run-quota", at(name))).unwrap_or_default();
        assert!(
            !open || quota["status"]["hard"] == quota["spec"]["hard"] && quota != Value::Null,
            "{name}: {quota}"
        );
    }
    guard.one_more_reconciler("last", &["--no-leader-election".to_owned()]).unwrap();
    await_gates(&client, &names);
}
