//! A control plane, the webhook, the reconciler, sweeps and the page on IPv6 alone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::{ControlPlane, Guard, Health, Identity, eventually};

use crate::playground;

const TIMEOUT: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "codex-issue-a-1";

/// A namespace that the webhook denies.
const BAD: &str = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {
    "name": "codex-issue-a-2", "labels": {"codex-k8s.dev/probe": "known-bad"}}}"#;

#[test]
fn serve_reconcile_sweep_and_page_work_on_ipv6_alone() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIPPED: this machine has no IPv6 loopback address");
        return;
    }
    let control_plane = ControlPlane::start_on_ipv6(playground()).unwrap();
    let guard = Guard::over(control_plane, playground()).unwrap();
    assert!(guard.control_plane.address().is_ipv6() && guard.webhook.address.is_ipv6());
    let kubectl = guard.kubectl(&Identity::Admin).unwrap();
    // The webhook is called, and a replica finds that the caBundle verifies its certificate for that address.
    let refused = kubectl.run_with_input(&["create", "--dry-run=server", "-f", "-"], BAD).unwrap();
    assert!(refused.stderr.contains("admission webhook"), "{refused}");
    guard.one_more("trusting", &["--verify-ca-bundle-of=codex-k8s-guard".to_owned()]).unwrap();

    let created = guard.kubectl(&Identity::developer()).unwrap().run(&["create", "namespace", NAMESPACE]);
    let created = created.unwrap();
    assert!(created.succeeded(), "{created}");
    let gate = r"jsonpath={.metadata.annotations.codex-k8s\.dev/baseline-ready-at}";
    let is_open = || {
        let ran = kubectl.run(&["get", "namespace", NAMESPACE, "--output", gate]).ok()?;
        (!ran.stdout.is_empty()).then_some(())
    };
    eventually("the gate is open", TIMEOUT, is_open).unwrap();

    let kubeconfig = guard.control_plane.kubeconfig(&Identity::collector()).unwrap();
    let store = format!("--audit-store=sqlite:{}", guard.file("audit.db").display());
    let policy = guard.file("collectors-policy.yaml");
    std::fs::write(&policy, "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n").unwrap();
    let swept = Command::new(playground())
        .args(["guard", "sweep", "--local", "--output=json", &store, "--policy"])
        .arg(&policy)
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&swept.stdout);
    assert!(swept.status.success(), "{report}{}", String::from_utf8_lossy(&swept.stderr));
    assert!(report.contains(NAMESPACE), "{report}");

    let (page, health) = (free_port().unwrap(), guard.control_plane.at(free_port().unwrap()));
    let args = [
        "guard".to_owned(),
        "daemon".to_owned(),
        "--schedule=0 0 1 1 *".to_owned(),
        store,
        format!("--admin-listen=localhost:{page}"),
        format!("--health-listen={health}"),
    ];
    let env = vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
    guard.control_plane.run("daemon", playground().to_owned(), args.to_vec(), env).unwrap();
    for address in [(Ipv6Addr::LOCALHOST, page).into(), (Ipv4Addr::LOCALHOST, page).into()] {
        let shows = || {
            let served = Health(SocketAddr::clone(&address)).get("/").ok()?;
            (served.starts_with("HTTP/1.1 200") && served.contains(NAMESPACE)).then_some(())
        };
        let waited = eventually(&format!("the page at {address} shows the namespace"), TIMEOUT, shows);
        waited.unwrap_or_else(|error| panic!("{error}\n{}", guard.control_plane.log_tail("daemon")));
    }
    assert!(Health(health).is_ready());
}
