//! Monitoring objects of the chart.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::values::{chart, objects, pod, rendered, set};

/// Copies in the chart, and their originals.
const COPIES: [(&str, &str); 2] =
    [("alerts.yaml", "alerts/alerts.yaml"), ("dashboard.json", "grafana/codex-k8s-guard.json")];

fn deployed(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)).unwrap()
}

fn watched() -> Vec<Value> {
    objects(&rendered(set("watched")))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn the_charts_copies_are_what_they_are_copies_of() {
    for (copy, original) in COPIES {
        let found = fs::read_to_string(chart().join("files").join(copy)).unwrap();
        assert!(found == deployed(original), "{copy} is not deploy/{original}: run `make generate`");
    }
    let files = fs::read_dir(chart().join("files")).unwrap().count();
    assert_eq!(files, COPIES.len());
}

#[test]
fn nothing_is_watched_unless_it_is_requested_for() {
    let kinds: Vec<_> =
        objects(&rendered(set("default"))).iter().map(|object| object["kind"].clone()).collect();
    assert!(!kinds.iter().any(|kind| kind == "PodMonitor" || kind == "PrometheusRule"), "{kinds:?}");
}

#[test]
fn the_alerts_and_the_dashboard_arrive_as_they_are() {
    let objects = watched();
    let rule = of_kind(&objects, "PrometheusRule", "codex-k8s-guard");
    let alerts: Value = serde_saphyr::from_str(&deployed("alerts/alerts.yaml")).unwrap();
    assert_eq!(rule["spec"], alerts);
    let map = of_kind(&objects, "ConfigMap", "codex-k8s-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value =
        serde_json::from_str(map["data"]["codex-k8s-guard.json"].as_str().unwrap()).unwrap();
    let original: Value = serde_json::from_str(&deployed("grafana/codex-k8s-guard.json")).unwrap();
    assert_eq!(dashboard, original);
}

#[test]
fn each_pod_with_metrics_is_scraped_at_its_port_and_no_other() {
    let objects = watched();
    let monitor = of_kind(&objects, "PodMonitor", "codex-k8s-guard");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&endpoint["path"], &endpoint["interval"]), (&"/metrics".into(), &"15s".into()));
    assert_eq!(scraped(&objects, monitor, &endpoint["port"]).len(), 3);
}

/// The Pods of an installation that a selector selects; all those that have the port, and of others none with the port.
fn scraped<'a>(objects: &'a [Value], monitor: &Value, port: &Value) -> BTreeSet<&'a str> {
    let selector = monitor.pointer("/spec/selector/matchLabels").unwrap_or(&monitor["spec"]["selector"]);
    let selector = selector.as_object().unwrap();
    let name = |pod: &'a Value| pod["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap();
    let is_selected = |pod: &&Value| {
        !selector.is_empty() && selector.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value)
    };
    let has_port = |pod: &&Value| {
        let ports = pod.pointer("/spec/containers/0/ports").and_then(Value::as_array);
        ports.is_some_and(|ports| ports.iter().any(|found| found["name"] == *port))
    };
    let serving: BTreeSet<_> = objects.iter().filter_map(pod).filter(has_port).map(name).collect();
    let selected = objects.iter().filter_map(pod).filter(is_selected).filter(has_port);
    assert_eq!(selected.map(name).collect::<BTreeSet<_>>(), serving);
    serving
}

#[test]
fn a_service_monitor_reads_the_same_pods_through_a_service_and_each_object_has_its_own_switch() {
    let objects = objects(&rendered(set("service-monitor")));
    let monitor = of_kind(&objects, "ServiceMonitor", "codex-k8s-guard");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["relabelings"][0]["targetLabel"], "cluster");
    let service = of_kind(&objects, "Service", "codex-k8s-metrics");
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][key], *value);
    }
    let port = &service["spec"]["ports"][0];
    assert_eq!(port["name"], endpoint["port"]);
    assert_eq!(scraped(&objects, service, &port["targetPort"]).len(), 3);
    for kind in ["PodMonitor", "PrometheusRule"] {
        assert!(!objects.iter().any(|object| object["kind"] == kind), "{kind}");
    }
    assert!(!objects.iter().any(|object| object["metadata"]["name"] == "codex-k8s-dashboard"));
}

#[test]
fn traces_go_to_the_collector_and_may() {
    let objects = watched();
    let policy = of_kind(&objects, "NetworkPolicy", "codex-k8s-traces");
    let egress = &policy["spec"]["egress"][0];
    assert_eq!(egress["ports"][0]["port"], 4318);
    let home = "kubernetes.io/metadata.name";
    assert_eq!(egress["to"][0]["namespaceSelector"]["matchLabels"][home], "tracing");
    for name in ["codex-k8s-webhook", "codex-k8s-reconcile", "codex-k8s-gc"] {
        let container = &of_kind(&objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().unwrap();
        assert!(args.contains(&"--otlp-endpoint=http://collector.tracing:4318".into()), "{name}: {args:?}");
    }
}
