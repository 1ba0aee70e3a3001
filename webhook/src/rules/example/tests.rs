//! Tests of the examples: each is answered as it says, and would be admitted unchanged without its rule.

use std::sync::Arc;

use codex_k8s_shared::policy::{Level, Mode, RunPolicy};
use codex_k8s_shared::quota::Scope;
use codex_k8s_shared::run::RuntimeMode;

use super::*;
use crate::rules::catalogue::{all, find, mutates};
use crate::rules::tests::run_namespace;
use crate::rules::{
    Entry, Facts, Finding, Holders, Kind, LevelVersion, ManagedNamespace, Occupancy, Request, Rule, decide,
};

/// Rules that never deny what the mutating call has seen, and the reason.
const NEVER_DENY: [(&str, &str); 2] = [
    ("JOB023", "it adds what a LimitRange would"),
    ("NS007", "it denies only what the mutating call would have restored"),
];

/// The time of the examples.
const NOW: &str = "2026-02-01T12:00:00Z";

impl Example {
    /// Returns the user name of the requester.
    fn user_name(&self) -> String {
        let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
        match self.user {
            User::Person => "jane".to_owned(),
            User::Worker => account("codex-k8s-ai-staging", "codex-k8s-worker"),
            User::Agent => account(self.setting.namespace(), "codex-runner"),
            User::Reconciler => account("codex-k8s-guard", "codex-k8s-reconcile"),
            User::Collector => account("codex-k8s-guard", "codex-k8s-gc"),
            User::JobController => account("kube-system", "job-controller"),
            User::QuotaController => account("kube-system", "resourcequota-controller"),
            User::Kubelet => "system:node:n1".to_owned(),
        }
    }

    /// Returns the groups of the requester that matter to the rules.
    const fn groups(&self) -> &'static [&'static str] {
        match self.user {
            User::Kubelet => &[crate::rules::requester::KUBELETS],
            _ => &[],
        }
    }
}

impl Setting {
    /// Returns the namespace of the example, or that of its agent.
    const fn namespace(self) -> &'static str {
        match self {
            Self::Slot => "codex-k8s-dev-1",
            _ => "codex-issue-7",
        }
    }

    /// Returns the Pod Security level of the namespace.
    const fn level(self) -> Level {
        match self {
            Self::Slot => Level::Privileged,
            Self::Restricted => Level::Restricted,
            _ => Level::Baseline,
        }
    }

    /// Returns the mode of the namespace.
    const fn mode(self) -> RuntimeMode {
        match self {
            Self::CodeOnly => RuntimeMode::CodeOnly,
            _ => RuntimeMode::FullEnv,
        }
    }
}

impl Object {
    /// Returns the kind of the object for the rules.
    fn kind(self) -> Option<Kind> {
        let object = self.value();
        let text = |field| object.get(field).and_then(Value::as_str);
        let group = text("apiVersion")?.split_once('/').map_or("", |(group, _)| group);
        Kind::of(group, text("kind")?)
    }
}

/// The answers of both calls of the webhook.
struct Answer {
    /// The object as it would be stored.
    stored: Value,
    findings: Vec<Finding>,
    /// The rules that either call evaluated.
    evaluated: Vec<&'static str>,
}

impl Answer {
    fn of(example: &Example, policy: &RunPolicy) -> Self {
        let facts = facts(example);
        let user = example.user_name();
        let mut stored = example.object();
        let mut evaluated = Vec::new();
        if let Some(object) = &mut stored {
            let request = request(example, &user, Some(object.clone()));
            let verdict = decide(policy, &facts, &request, Entry::Mutate);
            evaluated.extend(verdict.evaluated.iter().map(|rule| rule.id));
            json_patch::patch(object, &verdict.patch).unwrap();
        }
        let request = request(example, &user, stored.clone());
        let verdict = decide(policy, &facts, &request, Entry::Validate);
        evaluated.extend(verdict.evaluated.iter().map(|rule| rule.id));
        Self { stored: stored.unwrap_or_default(), findings: verdict.findings, evaluated }
    }

    /// Returns the findings with a mode, as `RULE at PATH`.
    fn found(&self, mode: Mode) -> Vec<String> {
        let findings = self.findings.iter().filter(|finding| finding.mode == mode);
        findings.map(|finding| format!("{} at {}", finding.rule.id, finding.path)).collect()
    }

    fn has(&self, fields: &[(&str, &str)]) -> bool {
        fields
            .iter()
            .all(|(pointer, value)| self.stored.pointer(pointer).unwrap_or(&Value::Null) == &read(value))
    }
}

fn request<'a>(example: &Example, user: &'a str, object: Option<Value>) -> Request<'a> {
    Request {
        operation: example.operation,
        kind: example.base.kind().unwrap(),
        subresource: example.subresource,
        name: "",
        user,
        groups: example.groups().to_vec(),
        object,
        old_object: example.old_object(),
    }
}

fn facts(example: &Example) -> Facts {
    let mut facts = Facts::at(NOW.parse().unwrap());
    facts.requester_is_managed = example.user == User::Agent;
    let setting = example.setting;
    match setting {
        Setting::RunIdInUse => {
            let holder =
                ManagedNamespace { requested_by: Some("jane".into()), ..run_namespace("codex-issue-8") };
            facts.run_holders.push(Arc::new(holder));
        }
        Setting::LimitReached => {
            let holders = Holders { held: 7, ..Holders::default() };
            facts.occupancy.push(Occupancy { scope: Scope::Cluster, max: 7, holders });
        }
        _ => {}
    }
    let is_inside = example.base.kind() != Some(Kind::Namespace) && setting != Setting::Unmanaged;
    facts.namespace = is_inside.then(|| {
        Arc::new(ManagedNamespace {
            mode: setting.mode(),
            correlation_id: Some("r1".into()),
            ready: setting != Setting::NotReady,
            terminating: setting == Setting::Terminating,
            pod_security: LevelVersion { level: setting.level(), ..LevelVersion::default() },
            ..run_namespace(setting.namespace())
        })
    });
    facts
}

fn policy(example: &Example) -> RunPolicy {
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    RunPolicy::from_yaml(&format!("{head}{}", example.policy)).unwrap()
}

/// Returns the policy of an example without its rule, and without the controls of Pod Security, which refuse some of
/// the same fields.
fn policy_without(example: &Example, rule: &Rule) -> RunPolicy {
    let mut policy = policy(example);
    let controls = all().filter(|rule| rule.id.starts_with("PSS"));
    policy.rules.extend(controls.map(|rule| (rule.id.to_owned(), Mode::Off)));
    policy.rules.insert(rule.id.to_owned(), Mode::Off);
    policy
}

/// Returns each rule with each of its examples.
fn examples() -> impl Iterator<Item = (&'static Rule, &'static Example)> {
    all().flat_map(|rule| rule.examples.iter().map(move |example| (rule, example)))
}

/// Returns the examples that fail a check, each with the difference.
fn failures(check: impl Fn(&Rule, &Example) -> Result<(), String>) -> String {
    let failed = examples().filter_map(|(rule, example)| {
        let found = check(rule, example).err()?;
        Some(format!("\n{} {:?}: {found}", rule.id, example.name))
    });
    failed.collect()
}

fn expect(expected: &[String], found: &[String]) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

fn is_answered(rule: &Rule, example: &Example) -> Result<(), String> {
    let answer = Answer::of(example, &policy(example));
    let (mut denied, mut warned) = (Vec::new(), Vec::new());
    match example.outcome {
        Outcome::Denied(path) => denied.push(format!("{} at {path}", rule.id)),
        Outcome::Warned(path) => warned.push(format!("{} at {path}", rule.id)),
        Outcome::Mutated(fields) if !answer.has(fields) => {
            return Err(format!("expected {fields:?}, found {}", answer.stored));
        }
        Outcome::Mutated(_) | Outcome::Admitted => {}
    }
    expect(&denied, &answer.found(Mode::Enforce))?;
    expect(&warned, &answer.found(Mode::Warn))
}

#[test]
fn every_example_is_answered_as_its_rule_says() {
    assert_eq!(failures(is_answered), "");
}

/// Checks that a rule with mode `off` is not evaluated and changes nothing: the other rules then decide.
fn depends_on_its_rule(rule: &Rule, example: &Example) -> Result<(), String> {
    let answer = Answer::of(example, &policy_without(example, rule));
    if answer.evaluated.contains(&rule.id) {
        return Err("the rule is evaluated although it is off".to_owned());
    }
    expect(&[], &answer.found(Mode::Warn))?;
    match example.outcome {
        Outcome::Denied(_) => expect(&[], &answer.found(Mode::Enforce)),
        Outcome::Mutated(fields) if answer.has(fields) => Err("another rule sets the same fields".to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn without_its_rule_no_example_is_denied_and_none_is_mutated() {
    assert_eq!(failures(depends_on_its_rule), "");
}

#[test]
fn an_example_that_is_wrong_fails_the_checks() {
    let rule = find("JOB007").unwrap();
    let too_long = Example::new("too long").creates(Object::Job, "spec: {activeDeadlineSeconds: 86400}");
    let defaulted = Example::new("defaulted").creates(Object::Job, "");
    for wrong in [
        too_long,
        too_long.denied_at("spec.backoffLimit"),
        too_long.warned_at("spec.activeDeadlineSeconds"),
        defaulted.mutated(&[("/spec/activeDeadlineSeconds", "901")]),
    ] {
        assert!(is_answered(rule, &wrong).is_err(), "{:?}", wrong.outcome);
    }
    for of_another_rule in [
        Example::new("retries")
            .creates(Object::Job, "spec: {backoffLimit: 100}")
            .denied_at("spec.backoffLimit"),
        defaulted.mutated(&[("/spec/backoffLimit", "0")]),
    ] {
        assert!(depends_on_its_rule(rule, &of_another_rule).is_err(), "{:?}", of_another_rule.outcome);
    }
}

#[test]
fn every_rule_has_an_example_of_each_answer_that_it_gives() {
    let mut missing = Vec::new();
    for rule in all() {
        let has = |is: fn(&Outcome) -> bool| rule.examples.iter().any(|example| is(&example.outcome));
        let evaluates =
            |example: &&Example| Answer::of(example, &policy(example)).evaluated.contains(&rule.id);
        let never_denies = NEVER_DENY.iter().any(|(id, _)| *id == rule.id);
        for (answer, is_shown) in [
            ("denied", never_denies || has(Outcome::is_denied)),
            ("mutated", !mutates(rule) || has(|outcome| matches!(outcome, Outcome::Mutated(_)))),
            (
                "admitted after an evaluation",
                rule.examples
                    .iter()
                    .filter(|example| example.outcome == Outcome::Admitted)
                    .any(|example| evaluates(&example)),
            ),
        ] {
            missing.extend((!is_shown).then(|| format!("{} {answer}", rule.id)));
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_rule_is_on_by_default_so_that_its_examples_are_about_the_defaults() {
    assert!(all().all(|rule| rule.mode(&RunPolicy::default()) != Mode::Off));
}

#[test]
fn every_example_is_reported_apart_by_its_name_and_is_valid_yaml() {
    let yaml = |text: &str| {
        text.is_empty() || serde_saphyr::from_str::<Value>(text).is_ok_and(|value| value.is_object())
    };
    for object in Object::ALL {
        assert!(yaml(object.yaml()) && object.kind().is_some(), "{object:?}");
    }
    for (rule, example) in examples() {
        assert!(yaml(example.before) && yaml(example.change), "{} {}", rule.id, example.name);
        let twins = rule.examples.iter().filter(|other| other.name == example.name);
        assert_eq!(twins.count(), 1, "{} {}", rule.id, example.name);
        if let Outcome::Mutated(fields) = example.outcome {
            assert!(
                fields.iter().all(|(_, value)| serde_saphyr::from_str::<Value>(value).is_ok()),
                "{}",
                rule.id
            );
        }
    }
}
