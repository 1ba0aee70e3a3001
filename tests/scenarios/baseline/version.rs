//! The version of the API server: the programs report what it lacks.

use std::fs;
use std::process::Command;

use codex_k8s_tests::binaries::kubernetes_minor;
use codex_k8s_tests::{Identity, eventually};
use codex_k8s_webhook::kubernetes::describe_missing;

use crate::harness::{TIMEOUT, guard, playground};

#[test]
fn what_the_version_of_the_api_server_lacks_is_logged_and_printed() {
    let minor = kubernetes_minor().unwrap();
    let missing = describe_missing(minor);
    let control_plane = &guard().control_plane;
    for name in ["webhook", "reconcile"] {
        let log = control_plane.folder().join(format!("{name}.log"));
        eventually(&format!("{name} logs the version"), TIMEOUT, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let is_complete = missing.iter().all(|line| text.contains(line));
            (is_complete && text.contains(&format!("v1.{minor}."))).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", control_plane.log_tail(name)));
    }
    let kubeconfig = control_plane.kubeconfig(&Identity::Admin).unwrap();
    let ran =
        Command::new(playground()).args(["guard", "verify"]).env("KUBECONFIG", kubeconfig).output().unwrap();
    let printed = String::from_utf8(ran.stderr).unwrap();
    let notes: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("note: ")).collect();
    assert!(ran.status.success(), "{printed}");
    assert_eq!(notes, missing);
}
