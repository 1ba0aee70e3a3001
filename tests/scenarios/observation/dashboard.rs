//! The dashboard: Prometheus can parse the queries of its panels, and their metrics exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use codex_k8s_tests::binaries;
use serde_json::{Value, json};

use crate::tables::names_only_what_there_is;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/codex-k8s-guard.json");

/// The panels with queries: title, and expressions.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    panels.into_iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().unwrap();
    targets.iter().map(|target| target["expr"].as_str().unwrap()).collect()
}

#[test]
fn prometheus_can_read_every_expression_and_there_is_every_metric() {
    let panels = panels();
    let all: Vec<_> = panels.iter().flat_map(expressions).collect();
    assert!(all.len() > 40, "{}", all.len());
    for expression in &all {
        names_only_what_there_is(expression);
    }
    // Grafana replaces this variable with a duration.
    let filled = all.iter().map(|expression| expression.replace("$__rate_interval", "5m"));
    let rules: Vec<_> =
        filled.enumerate().map(|(n, expr)| json!({"record": format!("panel_{n}"), "expr": expr})).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yaml");
    fs::write(&file, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    let ran =
        Command::new(binaries::promtool().unwrap()).args(["check", "rules"]).arg(&file).output().unwrap();
    let told = [ran.stdout, ran.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(ran.status.success() && told.contains(&format!("{} rules found", rules.len())), "{told}");
}

#[test]
fn each_panel_says_what_it_shows_in_which_unit_from_the_prometheus_that_was_chosen() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        let title = panel["title"].as_str().unwrap().to_owned();
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        assert!(titles.insert(title.clone()), "{title}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{title}");
    }
}
