//! The controls together with our own rules about the host.

use std::sync::Arc;

use codex_k8s_shared::policy::{Level, RunPolicy};
use serde_json::{Value, json};

use crate::rules::tests::{request, run_namespace};
use crate::rules::{Entry, Facts, Kind, LevelVersion, ManagedNamespace, decide};

fn at(level: Level) -> Facts {
    let pod_security = LevelVersion { level, ..LevelVersion::default() };
    let namespace = ManagedNamespace { pod_security, ..run_namespace("codex-issue-7") };
    Facts { namespace: Some(Arc::new(namespace)), ..Facts::at("2026-02-01T12:00:00Z".parse().unwrap()) }
}

/// Returns a Job that meets the level `restricted`, with changes of its Pod.
fn job(change: &Value) -> Value {
    let mut spec = json!({
        "serviceAccountName": "codex-runner",
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "busybox:1.36", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    json_patch::merge(&mut spec, change);
    json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": spec}}})
}

/// Returns the findings under a policy, each as `RULE mode path`. Only rules about the host and controls are listed.
fn found(rules: &str, level: Level, user: &str, kind: Kind, old: Option<Value>, new: Value) -> Vec<String> {
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    let policy = RunPolicy::from_yaml(&format!("{head}rules: {{{rules}}}\n")).unwrap();
    let verdict = decide(&policy, &at(level), &request(user, kind, old, Some(new)), Entry::Validate);
    let is_about_the_host =
        |id: &str| id.starts_with("PSS") || ["JOB017", "JOB018", "JOB019", "JOB020"].contains(&id);
    let findings = verdict.findings.iter().filter(|finding| is_about_the_host(finding.rule.id));
    findings
        .map(|finding| {
            let path = finding.path.trim_start_matches("spec.template.").trim_start_matches("spec.");
            format!("{} {:?} {path}", finding.rule.id, finding.mode)
        })
        .collect()
}

fn of_job(rules: &str, level: Level, change: &Value) -> Vec<String> {
    found(rules, level, "jane", Kind::Job, None, job(change))
}

#[test]
fn a_field_that_two_rules_report_has_one_denial() {
    let on_the_host = json!({"hostNetwork": true});
    assert_eq!(of_job("", Level::Privileged, &on_the_host), ["JOB018 Enforce hostNetwork"]);
    assert_eq!(of_job("", Level::Baseline, &on_the_host), ["JOB018 Enforce hostNetwork"]);
    assert_eq!(of_job("", Level::Restricted, &on_the_host), ["JOB018 Enforce hostNetwork"]);
    let unconfined = json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}});
    let path = "securityContext.seccompProfile.type";
    assert_eq!(of_job("", Level::Baseline, &unconfined), [format!("JOB020 Enforce {path}")]);
    assert_eq!(of_job("", Level::Restricted, &unconfined), [format!("PSS018 Enforce {path}")]);
}

#[test]
fn of_two_modes_the_stricter_one_holds() {
    let on_the_host = json!({"hostNetwork": true});
    let of = |rules| of_job(rules, Level::Baseline, &on_the_host);
    assert_eq!(of("JOB018: warn"), ["PSS003 Enforce hostNetwork"]);
    assert_eq!(of("JOB018: 'off'"), ["PSS003 Enforce hostNetwork"]);
    assert_eq!(of("JOB018: audit, PSS003: warn"), ["PSS003 Warn hostNetwork"]);
    assert_eq!(of("JOB018: warn, PSS003: warn"), ["JOB018 Warn hostNetwork"]);
    assert_eq!(of("PSS003: 'off'"), ["JOB018 Enforce hostNetwork"]);
    assert_eq!(of("JOB018: 'off', PSS003: 'off'"), [""; 0]);
}

#[test]
fn what_differs_from_another_finding_of_the_same_pod_is_reported_too() {
    let containers = json!({"containers": [{"name": "c", "image": "busybox:1.36", "securityContext": {
        "privileged": true, "capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}}]});
    let context = "containers[0].securityContext";
    assert_eq!(
        of_job("", Level::Restricted, &containers),
        [
            format!("JOB017 Enforce {context}.privileged"),
            format!("PSS014 Enforce {context}.allowPrivilegeEscalation"),
            format!("PSS017 Enforce {context}.capabilities.drop"),
            format!("PSS017 Enforce {context}.capabilities.add[0]"),
            format!("PSS017 Enforce {context}.capabilities.add[1]"),
        ]
    );
}

#[test]
fn an_update_is_refused_for_what_it_breaks_and_for_another_program() {
    let old = job(&json!({"securityContext": null}));
    let update = |change: &Value| {
        let mut new = old.clone();
        json_patch::merge(&mut new, change);
        found("", Level::Restricted, "jane", Kind::Template, Some(old.clone()), new)
    };
    assert_eq!(update(&json!({"spec": {"replicas": 2}})), [""; 0]);
    let user = json!({"spec": {"template": {"spec": {"securityContext": {"runAsUser": 0}}}}});
    assert_eq!(update(&user), ["PSS016 Enforce securityContext.runAsUser"]);
    let program = json!({"spec": {"template": {"spec": {"initContainers": [{"name": "i", "image": "mine:1",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}}]}}}});
    assert_eq!(
        update(&program),
        [
            "PSS015 Enforce containers[0].securityContext.runAsNonRoot",
            "PSS018 Enforce containers[0].securityContext.seccompProfile.type"
        ]
    );
}

#[test]
fn what_controllers_copy_from_a_template_is_evaluated_only_if_pods_are_made_of_it() {
    let controller = "system:serviceaccount:kube-system:job-controller";
    let root = job(&json!({"securityContext": {"runAsUser": 0}}));
    let of = |user, kind, object: &Value| found("", Level::Restricted, user, kind, None, object.clone());
    assert_eq!(of(controller, Kind::Job, &root), ["PSS016 Enforce securityContext.runAsUser"]);
    let pod = root["spec"]["template"].clone();
    assert_eq!(of(controller, Kind::Pod, &pod), [""; 0], "the API server has refused it already");
    assert_eq!(of("jane", Kind::Pod, &pod), ["PSS016 Enforce securityContext.runAsUser"]);
    let revision = json!({"metadata": {"name": "r"}, "data": {"spec": {"template": &pod}}});
    assert_eq!(of(controller, Kind::Revision, &revision), [""; 0]);
    assert_eq!(of("jane", Kind::Revision, &revision).len(), 1);
}
