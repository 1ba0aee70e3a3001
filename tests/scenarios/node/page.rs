//! The daemon's page, as an operator reaches it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use codex_k8s_tests::binaries::Binaries;
use codex_k8s_tests::{Health, Identity, eventually};

use crate::harness::{INSTALL_NAMESPACE, Installed, TIMEOUT, machine_can};

const VALUES: &str = "gc: {page: {enabled: true}}";

/// A local port forwarded to the page until it is dropped, as in the chart's notes.
struct Forwarded {
    kubectl: Child,
    page: Health,
}

impl Forwarded {
    fn new(cluster: &Installed) -> Self {
        let kubeconfig = cluster.node.control_plane().kubeconfig(&Identity::Admin).unwrap();
        let mut kubectl = Command::new(Binaries::find().unwrap().path("kubectl"))
            .args(["port-forward", "--namespace", INSTALL_NAMESPACE, "deployment/codex-k8s-gc", ":8081"])
            .arg("--address=127.0.0.1")
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(kubectl.stdout.as_mut().unwrap()).read_line(&mut told).unwrap();
        let port =
            told.trim().strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{told:?}"));
        Self { kubectl, page: Health(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn the_page_is_reached_by_kubectl_port_forward_and_lists_the_namespaces() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    let name = "codex-issue-seen";
    cluster.done(&["create", "namespace", name]);
    let forwarded = Forwarded::new(&cluster);
    let mut text = String::new();
    eventually("the page lists the namespace", TIMEOUT, || {
        text = forwarded.page.get("/").unwrap_or_else(|error| error.to_string());
        (text.starts_with("HTTP/1.1 200") && text.contains(name)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {text}\n{}", cluster.happened()));
}
