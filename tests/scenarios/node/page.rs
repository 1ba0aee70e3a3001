//! The daemon's page, as an operator reaches it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use codex_k8s_tests::{Health, Identity, eventually};

use crate::harness::{Installed, TIMEOUT, machine_can, playground};

const VALUES: &str = "operatorRole: {enabled: true, subjects: [{kind: Group, name: operators}]}";

/// A local port forwarded to the page until it is dropped.
struct Forwarded {
    command: Child,
    page: Health,
}

impl Forwarded {
    fn new(cluster: &Installed) -> Self {
        let operator = Identity::user("olga").in_group("operators");
        let mut command = Command::new(playground())
            .args(["guard", "page", "--no-browser"])
            .env("KUBECONFIG", cluster.node.control_plane().kubeconfig(&operator).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(command.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        let page = address.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
        let page = page.and_then(|page| page.parse().ok()).unwrap_or_else(|| panic!("{address:?}"));
        Self { command, page: Health(page) }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn one_command_forwards_the_page_to_an_operator_and_it_lists_the_namespaces() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    let name = "codex-issue-seen";
    cluster.done(&["create", "namespace", name]);
    let mut forwarded = Forwarded::new(&cluster);
    let mut text = String::new();
    eventually("the page lists the namespace", TIMEOUT, || {
        text = forwarded.page.get("/").unwrap_or_else(|error| error.to_string());
        (text.starts_with("HTTP/1.1 200") && text.contains(name)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {text}\n{}", cluster.happened()));
    // More than one connection, at the same time.
    let status = || forwarded.page.get("/status.json").unwrap();
    let both =
        std::thread::scope(|scope| [scope.spawn(status), scope.spawn(status)].map(|one| one.join().unwrap()));
    assert!(both.iter().all(|text| text.contains(name)), "{both:?}");
    let mut told = String::new();
    let mut stderr = forwarded.command.stderr.take().unwrap();
    drop(forwarded);
    stderr.read_to_string(&mut told).unwrap();
    assert!(told.contains("note: forwarding to the page") && !told.contains("warning: "), "{told}");
}
