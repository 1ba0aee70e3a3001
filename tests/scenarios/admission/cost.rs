//! The cost of a large namespace for the API server, with and without our registration, in the same run.

use std::time::Duration;

use codex_k8s_tests::bench::api_server::cpu_of_creation;
use codex_k8s_tests::guard::grant_every_right;
use codex_k8s_tests::{ControlPlane, Guard};

use crate::harness::playground;

const LABELS: usize = 20_000;
/// CPU time that the reconciler and the watches of a guarded cluster cost the API server in the meantime.
const CONSTANT: Duration = Duration::from_millis(100);

#[test]
fn a_namespace_of_twenty_thousand_labels_costs_the_api_server_little_more_with_us() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    grant_every_right(&control_plane).unwrap();
    let without = cpu_of_creation(&control_plane, LABELS).unwrap();
    let guard = Guard::over(control_plane, playground()).unwrap();
    let with = cpu_of_creation(&guard.control_plane, LABELS).unwrap();
    println!("{LABELS} labels: {without:?} without our registration, {with:?} with it");
    assert!(with < without * 2 + CONSTANT, "{with:?} with our registration, {without:?} without");
}
