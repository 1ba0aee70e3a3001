//! What a large namespace costs the API server, with and without our registration, in the same run.

use std::time::Duration;

use codex_k8s_tests::process::Process;
use codex_k8s_tests::{ControlPlane, Guard, Identity};
use serde_json::{Value, json};

use crate::harness::{JSON, Send, playground, send};

const LABELS: usize = 20_000;
const REQUESTS: u32 = 5;
/// What the reconciler and the watches of a guarded cluster cost meanwhile.
const CONSTANT: Duration = Duration::from_millis(500);

/// The CPU time of the API server while it answers dry-run creations of a namespace with this many labels.
fn cpu(control_plane: &ControlPlane, labels: usize) -> Duration {
    let labels: serde_json::Map<String, Value> =
        (0..labels).map(|number| (format!("example.dev/label-{number}"), "x".into())).collect();
    let large =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "large", "labels": labels}});
    let argument = format!("--secure-port={}", control_plane.port());
    let process = Process::started_with(&argument).unwrap();
    let path = "/api/v1/namespaces?dryRun=All".to_owned();
    let request = Send { identity: &Identity::developer(), method: "POST", path, content_type: JSON };
    // Compiles the expressions and connects, which is not what is measured.
    send(control_plane, &request, &large).admitted();
    let before = process.cpu().unwrap();
    for _ in 0..REQUESTS {
        send(control_plane, &request, &large).admitted();
    }
    (process.cpu().unwrap() - before) / REQUESTS
}

#[test]
fn a_namespace_of_twenty_thousand_labels_costs_the_api_server_little_more_with_us() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    codex_k8s_tests::guard::grant_every_right(&control_plane).unwrap();
    let without = cpu(&control_plane, LABELS);
    let guard = Guard::over(control_plane, playground()).unwrap();
    let with = cpu(&guard.control_plane, LABELS);
    println!("{LABELS} labels: {without:?} without our registration, {with:?} with it");
    assert!(with < without * 2 + CONSTANT / REQUESTS, "{with:?} with our registration, {without:?} without");
}
