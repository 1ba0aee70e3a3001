//! A real control plane: the metrics of the programs while it runs, and after it has stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::{Guard, Health, Identity, Kubectl, Ran, eventually};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::tables::{documented, exposed};

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
/// Longer than the interval between bookmarks, and shorter than a watch lasts.
const BOOKMARK: Duration = Duration::from_mins(3);

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// A break-glass user passes the quota check at creation, and then waits at the gate.
const POLICY: &str = "\
identities: {breakGlass: {users: [rescuer]}}
quotas: {cluster: null, perRequester: null, perProject: {max: 100, overrides: {narrow: 1}}}
";

fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), POLICY).unwrap())
}

fn kubectl(identity: &Identity) -> Kubectl {
    guard().kubectl(identity).unwrap()
}

#[track_caller]
fn done(ran: &Ran) {
    assert!(ran.succeeded(), "{ran}");
}

/// Creates a run namespace of a project.
#[track_caller]
fn create(name: &str, project: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"codex-k8s.dev/project-id": project}}});
    let rescuer = kubectl(&Identity::user("rescuer").in_group(EVERY_RIGHT));
    done(&rescuer.run_with_input(&["create", "-f", "-"], &namespace.to_string()).unwrap());
}

/// An annotation of a namespace.
fn annotation(name: &str, key: &str) -> String {
    let ran = kubectl(&Identity::Admin).run(&["get", "namespace", name, "-o", "json"]).unwrap();
    let namespace: Value = serde_json::from_str(&ran.stdout).unwrap();
    let annotation = &namespace["metadata"]["annotations"][format!("codex-k8s.dev/{key}")];
    annotation.as_str().unwrap_or_default().to_owned()
}

fn await_gate(name: &str) {
    let is_open = || (!annotation(name, "baseline-ready-at").is_empty()).then_some(());
    eventually(&format!("the gate of {name} is open"), TIMEOUT, is_open).unwrap();
}

/// The number of gates closed for a reason, and the time since which the first of them has been.
fn closed_gates(waits_for: &str) -> (u64, u64) {
    let metric = |name: &str| {
        let name = format!("codex_k8s_reconcile_{name}{{waits_for=\"{waits_for}\"}}");
        guard().reconciler.health.metric(&name).unwrap()
    };
    (metric("closed_gates"), metric("oldest_closed_gate_timestamp_seconds"))
}

fn seconds(moment: Timestamp) -> u64 {
    u64::try_from(moment.as_second()).unwrap()
}

#[test]
fn a_gate_is_reported_as_closed_for_as_long_as_its_baseline_is_not_complete() {
    create("codex-issue-drifts", "wide");
    await_gate("codex-issue-drifts");
    let before = seconds(Timestamp::now());
    let reconciler = kubectl(&Identity::reconciler());
    let limits = ["limitrange", "codex-run-limits", "-n", "codex-issue-drifts"];
    let of_other_owner = ["--type=merge", "-p", r#"{"metadata":{"labels":null,"managedFields":[{}]}}"#];
    done(&reconciler.run(&[&["patch"], &limits[..], &of_other_owner].concat()).unwrap());
    let since = eventually("it is told", TIMEOUT, || {
        let (count, since) = closed_gates("baseline");
        (count == 1 && since >= before).then_some(since)
    })
    .unwrap();
    assert!(since <= seconds(Timestamp::now()), "{since}");
    done(&reconciler.run(&[&["delete"], &limits[..]].concat()).unwrap());
    await_gate("codex-issue-drifts");
    eventually("it is told no more", TIMEOUT, || (closed_gates("baseline") == (0, 0)).then_some(())).unwrap();
    let events = ["events", "--for=namespace/codex-issue-drifts", "-n", "codex-issue-drifts"];
    for event in [
        "new workloads wait for LimitRange codex-run-limits is owned by another manager",
        "the baseline is complete again: workloads may run",
    ] {
        let told =
            || kubectl(&Identity::developer()).run(&events).unwrap().stdout.contains(event).then_some(());
        eventually(&format!("developers are told: {event}"), TIMEOUT, told).unwrap();
    }
}

#[test]
fn a_namespace_without_a_place_is_reported_as_waiting_for_one_since_it_was_reported_so_itself() {
    create("codex-issue-first", "narrow");
    await_gate("codex-issue-first");
    create("codex-issue-second", "narrow");
    let told = eventually("it waits", TIMEOUT, || {
        Some(annotation("codex-issue-second", "quota-pending-since")).filter(|since| !since.is_empty())
    })
    .unwrap();
    let since = seconds(told.parse().unwrap());
    eventually("it is told", TIMEOUT, || (closed_gates("quota") == (1, since)).then_some(())).unwrap();
    done(&kubectl(&Identity::worker()).run(&["delete", "namespace", "codex-issue-first"]).unwrap());
    await_gate("codex-issue-second");
    eventually("it is told no more", TIMEOUT, || (closed_gates("quota") == (0, 0)).then_some(())).unwrap();
}

#[test]
fn a_quiet_cluster_is_watched_and_a_dead_one_is_not() {
    let guard = Guard::start(playground()).unwrap();
    // From here on, the namespaces are not changed.
    guard.reconciler.process.signal("TERM").unwrap();
    let seen =
        || guard.webhook.health.metric("codex_k8s_webhook_watch_last_event_timestamp_seconds").unwrap();
    let quiet = seen();
    assert!(quiet > 0);
    eventually("a bookmark is heard", BOOKMARK, || (seen() > quiet + 1).then_some(())).unwrap();

    guard.control_plane.kill_api_server().unwrap();
    let killed = seconds(Timestamp::now());
    let failures = || guard.control_plane.log_tail("webhook").matches("failed to watch namespaces").count();
    eventually("the watch fails again and again", TIMEOUT, || (failures() >= 3).then_some(())).unwrap();
    assert!(seen() <= killed, "its age grows");
    assert!(guard.webhook.health.is_ready(), "it decides by what it knew");

    guard.control_plane.start_api_server().unwrap();
    eventually("it is heard again", TIMEOUT, || (seen() > killed).then_some(())).unwrap();
}

/// Starts the daemon for a control plane.
fn daemon(guard: &Guard) -> Health {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let store = guard.file("audit.db").display().to_string();
    let args = ["guard", "daemon", "--schedule=@yearly", &format!("--health-listen={address}")];
    let variables = [
        ("KUBECONFIG", guard.control_plane.kubeconfig(&Identity::Admin).unwrap().display().to_string()),
        ("CODEX_K8S_GUARD_AUDIT_STORE", format!("sqlite:{store}")),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let args = args.map(str::to_owned).to_vec();
    guard.control_plane.run("gc", playground().to_owned(), args, variables).unwrap();
    Health(address).await_ready(&guard.control_plane, "gc").unwrap();
    Health(address)
}

#[test]
fn what_the_programs_show_at_work_is_in_the_tables() {
    let guard = guard();
    create("codex-issue-seen", "wide");
    await_gate("codex-issue-seen");
    let tables = documented();
    let served: Value =
        serde_json::from_str(&kubectl(&Identity::Admin).run(&["get", "--raw", "/version"]).unwrap().stdout)
            .unwrap();
    for (health, program, least) in [
        (guard.webhook.health, "serve", "codex_k8s_webhook_decisions_total"),
        (guard.reconciler.health, "reconcile", "codex_k8s_reconcile_writes_total"),
        (daemon(guard), "daemon", "codex_k8s_gc_next_start_timestamp_seconds"),
    ] {
        let build = format!(
            "codex_k8s_guard_build_info{{program=\"{program}\",version=\"{}\",kubernetes={}}} 1",
            env!("CARGO_PKG_VERSION"),
            served["gitVersion"]
        );
        let is_known = || health.get("/metrics").unwrap().contains(&build).then_some(());
        eventually(&format!("there is {build}"), TIMEOUT, is_known).unwrap();
        let shown = exposed(&health.get("/metrics").unwrap());
        assert!(shown.contains_key(least), "{shown:?}");
        for (name, (kind, labels)) in shown {
            let (documented_kind, documented_labels) = tables.get(&name).unwrap_or_else(|| panic!("{name}"));
            assert!(*documented_kind == kind && labels.is_subset(documented_labels), "{name} {labels:?}");
        }
    }
}
