//! The page: behind our own webhook with the rights of the garbage collector's own roles, and with faults.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::{Health, Identity};
use serde_json::Value;

use crate::harness::{Cluster, Daemon, INSTALL_NAMESPACE, Ns, playground, soon, unique};
use crate::installed::Installed;

fn address() -> SocketAddr {
    format!("127.0.0.1:{}", free_port().unwrap()).parse().unwrap()
}

/// The text of a section of the page, without tags.
fn section(page: &str, id: &str) -> String {
    let from = page.find(&format!("<section id=\"{id}\"")).unwrap();
    let part = &page[from..];
    let part = &part[..part.find("</section>").unwrap()];
    let text = part.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    text.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_shows_what_a_guarded_cluster_does_with_the_rights_of_the_collectors_own_roles() {
    let cluster = Installed::new();
    let (goes, lives) = ("codex-issue-goes", "codex-issue-lives");
    cluster.create(lives, Some("1h0m0s"));
    let page = address();
    let kubeconfig = cluster.guard.control_plane.kubeconfig(&Identity::collector()).unwrap();
    let command = |args: &[&str]| {
        let mut command = Command::new(playground());
        command
            .arg("guard")
            .args(args)
            .env("KUBECONFIG", &kubeconfig)
            .env("CODEX_K8S_GUARD_LOCAL", "true")
            .env("POD_NAMESPACE", INSTALL_NAMESPACE);
        command.arg(format!("--policy={}", cluster.guard.file("policy.yaml").display()));
        command.arg(format!("--audit-store=sqlite:{}", cluster.guard.file("audit.db").display()));
        command
    };
    let listen = format!("--admin-listen={page}");
    let _daemon = Daemon::start(command(&["daemon", "--schedule=@every 1s", &listen]));
    let shown = |id: &'static str, words: &str| {
        let text =
            || Health(page).get("/").ok().map(|page| section(&page, id)).filter(|text| text.contains(words));
        soon(&format!("{id} says {words:?}"), text)
    };
    cluster.create(goes, None);
    shown("rows", &format!("cleaned {goes} ttl_expired"));
    let namespaces = shown("namespaces", "Live 1");
    assert!(namespaces.contains(lives) && namespaces.contains("ready since"), "{namespaces}");
    shown("quotas", "the cluster 1 1000");
    shown("sweep", "Result succeeded");
    let page = Health(page).get("/").unwrap();
    assert!(!page.contains("Not known") && !page.contains("forbidden"), "{page}");

    // The page agrees with `explain` about a namespace.
    let explained = command(&["explain", &format!("ns/{lives}"), "--output=json"]).output().unwrap();
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    let until = explained["verdict"]["until"].as_str().unwrap();
    assert!(page.contains(&format!("<time datetime=\"{until}\">")), "{explained} {page}");
}

#[test]
fn what_cannot_be_read_is_said_to_be_unknown_with_the_reason() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::fresh(&name));
    let (page, policy) = (address(), cluster.policy(""));
    let runs = "--runs=postgres://gc@127.0.0.1:1/platform";
    std::fs::write(cluster.store(), "no store").unwrap();
    let listen = format!("--admin-listen={page}");
    let _daemon = cluster.daemon_with(&["--schedule=0 0 1 1 *", &*listen, &policy, runs]);
    let got = soon("the page is there", || Health(page).get("/").ok());
    for (id, words) in [
        ("namespaces", "Not known: the decisions about the namespaces. the platform's runs cannot be read"),
        ("namespaces", "Undecided the decision about it is unknown"),
        ("rows", "Not known: what was done. the audit store is damaged"),
        ("sweep", "There was none yet."),
        ("quotas", "the cluster 0 1000"),
    ] {
        let text = section(&got, id);
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    cluster.policy("lease: {defaultTtl: soon}\n");
    let told = || {
        let page = Health(page).get("/").ok()?;
        let (namespaces, reservations) = (section(&page, "namespaces"), section(&page, "quotas"));
        (namespaces.contains("is not a valid policy") && reservations.contains("is not a valid policy"))
            .then_some(())
    };
    soon("the policy is told to be unusable", told);
    cluster.delete_wholly(&name);
}

#[test]
fn the_page_answers_only_on_loopback_and_by_its_own_name() {
    let cluster = Cluster::new();
    for (args, words) in [
        (&["--admin-listen=0.0.0.0:0"][..], "is not a loopback address, and the page has no authentication"),
        (&["--admin-host=guard.example.org"], "--admin-listen"),
    ] {
        let ran = cluster.run(&[&["daemon", "--health-listen=127.0.0.1:0"], args].concat());
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(2) && told.contains(words), "{args:?}: {told}");
    }
    let page = address();
    let listen = format!("--admin-listen={page}");
    let _daemon = cluster.daemon_with(&["--schedule=0 0 1 1 *", &listen, "--admin-host=guard.example.org"]);
    soon("the page is there", || Health(page).get("/").ok());
    let ask = |method: &str, host: &str| {
        let mut stream = TcpStream::connect(page).unwrap();
        write!(stream, "{method} /?state=live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let good = ask("GET", "guard.example.org");
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("Run namespaces"), "{good}");
    assert!(good.contains("content-security-policy: default-src 'none'; style-src 'sha256-"), "{good}");
    let head = ask("HEAD", "localhost");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let rebound = ask("GET", "evil.example.org");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("Run namespaces"), "{rebound}");
    assert!(ask("POST", "localhost").starts_with("HTTP/1.1 405"));
    let bad = Health(page).get("/?state=gone").unwrap();
    assert!(bad.starts_with("HTTP/1.1 400"), "{bad}");
    assert!(section(&bad, "namespaces").contains("is none; expected one of due,"), "{bad}");
}
