//! The alerts: each fires when it should, is silent otherwise, and has a runbook.

use std::path::Path;
use std::process::Command;

use codex_k8s_tests::binaries;
use serde_json::Value;

use crate::tables::{named, names_only_what_there_is};

const ALERTS: &str = include_str!("../../../deploy/alerts/alerts.yaml");
const TESTS: &str = include_str!("../../../deploy/alerts/tests.yaml");
const PAGE: &str = include_str!("../../../docs/alerts.md");

const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/alerts.md");

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn alerts() -> Vec<Value> {
    let groups = read(ALERTS)["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn each_alert_fires_when_it_must_and_is_silent_when_it_must_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/alerts");
    let promtool = binaries::promtool().unwrap();
    for args in [["check", "rules", "alerts.yaml"], ["test", "rules", "tests.yaml"]] {
        let ran = Command::new(&promtool).args(args).current_dir(&folder).output().unwrap();
        let told = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&told));
    }
}

#[test]
fn each_alert_is_tried_and_has_an_entry_to_read() {
    let tests = read(TESTS);
    let cases: Vec<_> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap().clone())
        .collect();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let fires = |fires: bool| {
            cases.iter().any(|case| case["alertname"] == name && case["exp_alerts"].is_array() == fires)
        };
        assert!(fires(true) && fires(false), "{name}");
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
        let heading = runbook.strip_prefix(&format!("{RUNBOOKS}#")).unwrap();
        let is_there = PAGE.lines().any(|line| line.to_lowercase() == format!("## {heading}"));
        let is_named = PAGE.contains(&format!("## {name}\n")) || PAGE.contains(&format!("`{name}`"));
        assert!(is_there && is_named, "{name}");
    }
}

#[test]
fn the_alerts_read_metrics_that_there_are() {
    for alert in alerts() {
        names_only_what_there_is(alert["expr"].as_str().unwrap());
    }
}

/// Metrics by their prefix, and the alert that fires if there are none of them.
const ABSENT: [(&str, &str); 5] = [
    ("codex_k8s_webhook_", "CodexGuardWebhookAbsent"),
    ("codex_k8s_reconcile_", "CodexGuardReconcileAbsent"),
    ("codex_k8s_gc_", "CodexGuardCollectorNeverSucceeded"),
    ("codex_k8s_guard_build_info", "CodexGuardReconcileAbsent"),
    ("apiserver_", "CodexGuardApiServerAbsent"),
];

#[test]
fn no_alert_reads_metrics_whose_absence_no_alert_notices() {
    let alerts = alerts();
    for alert in &alerts {
        for metric in named(alert["expr"].as_str().unwrap()) {
            let (_, absent) = ABSENT.iter().find(|(prefix, _)| metric.starts_with(prefix)).unwrap();
            let other = alerts.iter().find(|other| other["alert"] == *absent).unwrap();
            let expression = other["expr"].as_str().unwrap();
            assert!(expression.contains("absent(") || expression.contains("unless on"), "{absent}");
        }
    }
}
