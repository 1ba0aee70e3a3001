//! Tests of the node fixture itself.

use std::collections::BTreeSet;
use std::process::Command;

use codex_k8s_tests::node::PAUSE;
use codex_k8s_tests::process::Process;
use codex_k8s_tests::{Identity, Node, eventually};

use crate::harness::{TIMEOUT, machine_can, playground};

/// Traces of nodes on the machine: mounts, control groups, network devices.
fn traces() -> BTreeSet<String> {
    let ran = |program: &str, args: &[&str]| {
        let ran = Command::new(program).args(args).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains("control-plane-"));
    let devices = ran("ip", &["-brief", "link"]);
    let devices = devices.lines().filter(|line| line.contains("node0") || line.contains("cni0"));
    let groups = ran("find", &["/sys/fs/cgroup", "-type", "d", "-name", "codex-k8s-node-*"]);
    mounts.chain(devices).chain(groups.lines()).map(str::to_owned).collect()
}

/// Waits until there are no more traces than before; older ones may be of a node that was killed before its cleanup.
#[track_caller]
fn await_no_more_than(before: &BTreeSet<String>) {
    let none = || traces().is_subset(before).then_some(());
    eventually("nothing is left", TIMEOUT, none).unwrap_or_else(|error| {
        panic!("{error}: {:?}", traces().difference(before));
    });
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn pods_run_names_are_found_and_nothing_is_left_on_the_machine() {
    if !machine_can() {
        return;
    }
    let before = traces();
    let node = Node::start(playground()).unwrap();
    let other = Node::start(playground()).unwrap();
    let folder = node.control_plane().folder().to_owned();
    for node in [&node, &other] {
        let kubectl = node.control_plane().kubectl(&Identity::Admin).unwrap();
        let done = |args: &[&str]| {
            let ran = kubectl.run(args).unwrap();
            assert!(ran.succeeded(), "{args:?}: {ran}");
            ran.stdout
        };
        done(&["create", "namespace", "pods"]);
        done(&["run", "works", "-n", "pods", &format!("--image={PAUSE}")]);
        done(&["wait", "-n", "pods", "--for=condition=Ready", "pod/works", "--timeout=60s"]);
        // Names resolve in Pods only if CoreDNS has an address among the Pods.
        let addresses =
            ["get", "endpointslices", "-n", "kube-system", "-o", "jsonpath={..endpoints[*].addresses}"];
        assert!(done(&addresses).contains("10.244.0."), "{}", done(&addresses));
        done(&["delete", "namespace", "pods", "--timeout=90s"]);
    }
    drop(node);
    drop(other);
    await_no_more_than(&before);
    assert!(!folder.exists());
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn after_its_supervisor_is_killed_its_processes_end_and_the_next_node_cleans_up() {
    if !machine_can() {
        return;
    }
    let before = traces();
    let node = Node::start(playground()).unwrap();
    let kubelet =
        Process::started_with(&format!("--root-dir={}/kubelet", node.control_plane().folder().display()));
    let kubelet = kubelet.unwrap();
    let supervisor = node.control_plane().supervisor_id().to_string();
    assert!(Command::new("kill").args(["-s", "KILL", &supervisor]).status().unwrap().success());
    eventually("kubelet has ended", TIMEOUT, || (!kubelet.is_running()).then_some(())).unwrap();
    drop(node);
    let left = traces();
    let is_new = |trace: &&String| trace.contains("codex-k8s-node-") && !before.contains(*trace);
    assert!(left.iter().any(|trace| is_new(&trace)), "no control group is left: {left:?}");
    drop(Node::start(playground()).unwrap());
    await_no_more_than(&before);
}
