//! Proxies of the environment and of the kubeconfig between the program and the API server.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use codex_k8s_tests::connect_proxy::{Connect, ConnectProxy};
use codex_k8s_tests::{ControlPlane, Identity};
use serde_json::Value;

use crate::playground;

const VARIABLES: [&str; 7] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"];
/// A host that no DNS server knows, so that only a proxy leads to it.
const HOST: &str = "api.example.test";

struct Network {
    control_plane: ControlPlane,
    proxy: ConnectProxy,
}

impl Network {
    fn start() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        let proxy = ConnectProxy::start(control_plane.address()).unwrap();
        Self { control_plane, proxy }
    }

    /// Writes a kubeconfig with another host, or a proxy.
    fn kubeconfig(&self, host: Option<&str>, proxy_url: Option<&str>) -> PathBuf {
        let file = self.control_plane.kubeconfig(&Identity::Admin).unwrap();
        let mut kubeconfig: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        if let Some(host) = host {
            cluster["server"] = format!("https://{host}:{}", self.control_plane.port()).into();
            cluster["tls-server-name"] = "localhost".into();
        }
        if let Some(proxy_url) = proxy_url {
            cluster["proxy-url"] = proxy_url.into();
        }
        let path = self.control_plane.folder().join("proxied.kubeconfig");
        fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// Runs a command that sends requests to the API server. Returns its output and the requests to the proxy.
    fn run(&self, kubeconfig: &Path, variables: &[(&str, &str)]) -> (Output, Vec<Connect>) {
        let mut command = Command::new(playground());
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.args(["guard", "unregister", "--kubeconfig"]).arg(kubeconfig);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output, self.proxy.take())
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_api_server_is_reached_through_the_proxy_that_kubectl_would_use() {
    let network = Network::start();
    let (port, at) = (network.control_plane.port(), network.proxy.address());
    let (http, socks) = (format!("http://{at}"), format!("socks5://{at}"));
    let with_password = format!("http://user:pa%40ss@{at}");
    let connect =
        |protocol, host: &str| Connect { protocol, target: format!("{host}:{port}"), authorization: None };
    let authorized =
        Connect { authorization: Some("Basic dXNlcjpwYUBzcw==".to_owned()), ..connect("CONNECT", HOST) };
    let (named, local) = (Some(HOST), None);
    for (host, proxy_url, variables, expected) in [
        (named, None, vec![("HTTPS_PROXY", http.as_str())], connect("CONNECT", HOST)),
        (named, None, vec![("https_proxy", http.as_str())], connect("CONNECT", HOST)),
        (named, None, vec![("HTTPS_PROXY", socks.as_str())], connect("SOCKS5", HOST)),
        (named, None, vec![("HTTPS_PROXY", with_password.as_str())], authorized),
        // Entries that other clients ignore are no error.
        (
            named,
            None,
            vec![("HTTPS_PROXY", http.as_str()), ("NO_PROXY", ",other.test, 10.0.0.0/8,")],
            connect("CONNECT", HOST),
        ),
        (local, Some(http.as_str()), vec![("NO_PROXY", "*")], connect("CONNECT", "127.0.0.1")),
        (named, Some(socks.as_str()), vec![("HTTPS_PROXY", "http://127.0.0.1:1")], connect("SOCKS5", HOST)),
    ] {
        let (output, seen) = network.run(&network.kubeconfig(host, proxy_url), &variables);
        let case = format!("{proxy_url:?} {variables:?}: {}", told(&output));
        assert!(output.status.success() && told(&output).contains("not found"), "{case}");
        assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == expected), "{seen:?} {case}");
    }
}

#[test]
fn the_api_server_is_reached_directly_where_no_proxy_says_so_and_on_loopback() {
    let network = Network::start();
    let http = format!("http://{}", network.proxy.address());
    for no_proxy in [HOST, ".example.test", "*"] {
        let variables = [("HTTPS_PROXY", http.as_str()), ("NO_PROXY", no_proxy)];
        let (output, seen) = network.run(&network.kubeconfig(Some(HOST), None), &variables);
        assert!(!output.status.success() && seen.is_empty(), "{no_proxy}: {seen:?} {}", told(&output));
    }
    for variables in [[("HTTPS_PROXY", http.as_str())], [("HTTP_PROXY", http.as_str())]] {
        let (output, seen) = network.run(&network.kubeconfig(None, None), &variables);
        assert!(output.status.success() && seen.is_empty(), "{variables:?}: {seen:?} {}", told(&output));
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_with_its_field_and_without_its_password() {
    let network = Network::start();
    for (proxy_url, variable, message) in [
        (
            Some("ftp://proxy.test"),
            "",
            "proxy-url: Invalid value: \"ftp://proxy.test\": must have the scheme",
        ),
        (None, "ftp://user:secret@proxy.test", "HTTPS_PROXY: Invalid value: must have the scheme"),
    ] {
        let kubeconfig = network.kubeconfig(Some(HOST), proxy_url);
        let (output, _) = network.run(&kubeconfig, &[("HTTPS_PROXY", variable)]);
        let told = told(&output);
        assert!(!output.status.success() && told.contains(message) && !told.contains("secret"), "{told}");
    }
}

/// The table that the unit tests of the program hold it to.
const CASES: &str = include_str!("../../../cli/src/proxy_cases.txt");

#[test]
fn the_table_of_no_proxy_is_what_gos_package_decides() {
    let cases: Vec<_> = CASES.lines().filter(|line| !line.starts_with('#')).collect();
    let mut oracle = Command::new("go")
        .args(["run", "./proxy-oracle"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let questions = cases.iter().map(|case| format!("{}\n", case.rsplit_once('|').unwrap().0));
    // The pipe has room for the whole table.
    oracle.stdin.take().unwrap().write_all(questions.collect::<String>().as_bytes()).unwrap();
    let output = oracle.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<_> = cases.iter().map(|case| case.rsplit_once('|').unwrap().1).collect();
    assert_eq!(answers.lines().collect::<Vec<_>>(), expected);
}
