//! `get` lists run namespaces, and follows their changes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Cluster, Ns, minutes, unique};

#[test]
fn get_lists_each_run_namespace_with_its_phase_in_each_format() {
    let cluster = Cluster::new();
    let (expired, fresh, other) = (unique("codex-issue"), unique("codex-issue"), unique("plain"));
    cluster.create_namespace(&Ns::expired(&expired));
    let until = minutes(60);
    let held = Ns::fresh(&fresh)
        .annotation("codex-k8s.dev/hold", &format!("{until} the failed migration"))
        .annotation("codex-k8s.dev/baseline-ready-at", &minutes(0));
    cluster.create_namespace(&held);
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": other}}));
    let got = |args: &[&str]| {
        let ran = cluster.command(&[&["get"], args].concat()).output().unwrap();
        (
            ran.status.code().unwrap(),
            String::from_utf8(ran.stdout).unwrap(),
            String::from_utf8(ran.stderr).unwrap(),
        )
    };
    let (code, table, _) = got(&[]);
    let mut lines = table.lines();
    assert!(code == 0 && lines.next().unwrap().starts_with("NAME "), "{table}");
    let cells = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cells(&expired)[1], "Expired", "{table}");
    assert_eq!(cells(&fresh)[1], "Ready", "{table}");
    assert!(table.contains(&format!("held until {until}: the failed migration\n")), "{table}");
    assert!(!table.contains(&other), "{table}");
    let (_, names, _) = got(&[&expired, &fresh, "--output=name", "--selector", "codex-k8s.dev/run-id"]);
    let mut expected = [format!("namespace/{expired}"), format!("namespace/{fresh}")];
    expected.sort();
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
    let (_, json, log) = got(&[&fresh, "--output=json", "-v", "debug"]);
    assert!(log.contains("DEBUG") && log.contains("/api/v1/namespaces?"), "each request is logged: {log}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["reservation"]), (&json!(fresh), &json!("admitted")));
    let (code, table, errors) = got(&[&fresh, &other, "--no-headers"]);
    assert_eq!((code, table.lines().count()), (1, 1), "{table}");
    assert!(errors.contains(&format!("Not found: \"{other}\" is not a run namespace")), "{errors}");
}

#[test]
fn get_watches_the_phases_of_a_namespace_to_its_end() {
    let cluster = Cluster::new();
    let name = unique("codex-issue");
    cluster.create_namespace(&Ns::fresh(&name));
    let mut command = cluster.command(&["get", &name, "--watch", "--no-headers"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(next(), "Preparing");
    cluster.annotate(&name, &json!({"codex-k8s.dev/baseline-ready-at": minutes(0)}));
    assert_eq!(next(), "Ready");
    cluster.delete_wholly(&name);
    assert_eq!(next(), "Terminating");
    let end = std::iter::repeat_with(next).find(|phase| phase != "Terminating");
    assert_eq!(end.as_deref(), Some("Deleted"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}
