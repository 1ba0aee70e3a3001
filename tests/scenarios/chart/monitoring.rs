//! Monitoring objects of the chart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use codex_k8s_gc::schedule::Schedule;
use jiff::Timestamp;
use serde_json::Value;

use crate::documented::writes;
use crate::values::{chart, helm, objects, pod, rendered, set};

/// The copy of the dashboard in the chart.
const DASHBOARD: (&str, &str) = ("dashboard.json", "grafana/codex-k8s-guard.json");
/// The values that deploy/alerts/alerts.yaml is rendered with, in addition to the defaults.
const ALL_ALERTS: &str = "gc: {mode: daemon}\nmonitoring: {enabled: true}";

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
fn the_charts_copy_of_the_dashboard_is_the_dashboard() {
    let (copy, original) = DASHBOARD;
    let found = fs::read_to_string(chart().join("files").join(copy)).unwrap();
    assert!(found == deployed(original), "{copy} is not deploy/{original}: run `make generate`");
    // The other file is the source of the alerts.
    assert_eq!(fs::read_dir(chart().join("files")).unwrap().count(), 2);
}

/// The alerts that the chart renders, as a rule file for Prometheus.
fn rule_file(values: &str) -> String {
    let rendered = codex_k8s_tests::chart::rendered("codex-k8s-guard", values).unwrap();
    let is_rule = |document: &&str| document.contains("\nkind: PrometheusRule\n");
    let rule = rendered.split("\n---\n").find(is_rule).unwrap();
    let (_, spec) = rule.split_once("\nspec:\n").unwrap();
    let lines: Vec<_> = spec.trim_end().lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    lines.join("\n") + "\n"
}

fn alerts(values: &str) -> BTreeMap<String, Value> {
    let spec: Value = serde_saphyr::from_str(&rule_file(values)).unwrap();
    let rules =
        spec["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule.clone())).collect()
}

#[test]
fn what_is_rendered_into_the_alerts_is_what_the_chart_says() {
    let head = "# Rendered from deploy/chart by `make generate`: all alerts, with the chart's default values.\n\
                # docs/alerts.md describes each of them.\n";
    let expected = format!("{head}{}", rule_file(ALL_ALERTS));
    if writes() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/alerts/alerts.yaml");
        fs::write(file, &expected).unwrap();
    }
    assert!(deployed("alerts/alerts.yaml") == expected, "if this is meant, run `make generate`");
    assert!(!expected.contains("${"), "a value is missing: {expected}");
}

#[test]
fn limits_labels_and_runbooks_of_the_alerts_are_values() {
    let values = "gc: {mode: daemon, schedule: \"0 */6 * * *\"}\n\
        monitoring:\n  enabled: true\n  prometheusRule:\n    additionalRuleLabels: {team: platform, severity: page}\n    \
        disabled: {CodexGuardApiServerAbsent: true, CodexGuardPanics: false}\n    \
        runbookUrl: https://runbooks.example.org/guard\n    jobs: agents-guard/.+\n    \
        thresholds: {certificateWarningDays: 9, certificateCriticalDays: 2, denialsFactor: 7, denialsMinimum: 70, \
        gateClosedSeconds: 61, terminatingSeconds: 62, watchSilentSeconds: 63}";
    let alerts = alerts(values);
    assert!(alerts.contains_key("CodexGuardPanics") && !alerts.contains_key("CodexGuardApiServerAbsent"));
    for (name, words) in [
        ("CodexGuardCertificateEndsSoon", ") < 777600"),
        ("CodexGuardCertificateEnds", ") < 172800"),
        ("CodexGuardCollectorSilent", "> 44100"),
        ("CodexGuardDenialsJump", "> 7 * ("),
        ("CodexGuardDenialsJump", "> 70"),
        ("CodexGuardGateClosedTooLong", "> 61"),
        ("CodexGuardTerminatingTooLong", "> 62"),
        ("CodexGuardCacheStale", "> 63"),
        ("CodexGuardTargetDown", "up{job=~\"agents-guard/.+\"}"),
    ] {
        let expression = alerts[name]["expr"].as_str().unwrap();
        assert!(expression.contains(words), "{name}: {expression}");
    }
    assert_eq!(alerts["CodexGuardCollectorNeverSucceeded"]["for"], "44100s");
    for (name, alert) in &alerts {
        assert_eq!(alert["labels"]["team"], "platform", "{name}");
        assert!(alert["labels"]["severity"] != "page", "{name}: its own label wins");
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.starts_with("https://runbooks.example.org/guard#codexguard"), "{runbook}");
    }
}

#[test]
fn alerts_about_programs_that_are_not_installed_are_left_out() {
    let names = |mode: &str| {
        let values = format!("gc: {{mode: {mode}}}\nmonitoring: {{enabled: true}}");
        alerts(&values).into_keys().collect::<BTreeSet<_>>()
    };
    let of_collector = [
        "CodexGuardBreakerOpen",
        "CodexGuardCollectorNeverSucceeded",
        "CodexGuardCollectorSilent",
        "CodexGuardNamespacesOverdue",
        "CodexGuardTerminatingTooLong",
    ];
    let (all, cron_job, off) = (names("daemon"), names("cronjob"), names("off"));
    assert_eq!(all.difference(&cron_job).collect::<Vec<_>>(), ["CodexGuardDaemonAbsent"]);
    assert_eq!(cron_job.difference(&off).collect::<Vec<_>>(), of_collector);
}

/// The longest time between two starts of a schedule in the next years, in seconds.
fn longest(schedule: &str) -> i64 {
    let schedule: Schedule = schedule.parse().unwrap();
    let times: Vec<_> = schedule.upcoming(Timestamp::UNIX_EPOCH).take(5000).collect();
    times.windows(2).map(|pair| pair[1].as_second() - pair[0].as_second()).max().unwrap()
}

#[test]
fn the_interval_of_a_regular_schedule_is_derived_and_that_of_another_must_be_given() {
    let silent = |values: &str| {
        let chart = chart().display().to_string();
        let ran =
            helm(&["template", "guard", &chart, "--show-only", "templates/prometheus-rule.yaml"], values);
        let (text, error) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        let after = text.split_once("codex_k8s_gc_last_success_timestamp_seconds) > ");
        after.map(|(_, rest)| rest.lines().next().unwrap().parse::<i64>().unwrap()).ok_or(error)
    };
    for schedule in [
        "*/15 * * * *",
        "*/7 * * * *",
        "*/45 * * * *",
        "* * * * *",
        "7 * * * *",
        "@hourly",
        "0 */6 * * *",
        "30 */5 * * *",
        "5 4 * * *",
        "@daily",
        "@midnight",
        "@weekly",
        "@every 1h30m",
        "@every 90s",
    ] {
        let values = format!("monitoring: {{enabled: true}}\ngc: {{schedule: \"{schedule}\"}}");
        assert_eq!(silent(&values), Ok(2 * longest(schedule) + 900), "{schedule}");
    }
    for schedule in ["0 3 * * 1", "0,20 * * * *", "@monthly", "*/5 8-18 * * *"] {
        let values = format!("monitoring: {{enabled: true}}\ngc: {{schedule: \"{schedule}\"}}");
        let error = silent(&values).unwrap_err();
        let words =
            "monitoring.prometheusRule.sweepIntervalSeconds: Required value: must be the longest time";
        assert!(error.contains(words) && error.contains(schedule), "{error}");
    }
    let given = "monitoring: {enabled: true, prometheusRule: {sweepIntervalSeconds: 50400}}\n\
                 gc: {schedule: \"*/5 8-18 * * *\"}";
    assert_eq!(silent(given), Ok(2 * 50_400 + 900));
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
