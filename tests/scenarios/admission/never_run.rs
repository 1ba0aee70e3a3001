//! Admitted workloads can run: the API server admits the Pods that controllers create from them.

mod cases;
mod fields;
mod generate;
mod pods;
mod resources;

use std::time::Duration;

use codex_k8s_shared::baseline::BaselineKind;
use codex_k8s_shared::policy::{Level, LimitSettings, RunPolicy};
use codex_k8s_shared::quota::pod_resources::PodResources;
use codex_k8s_shared::quota::validity::problems;
use codex_k8s_tests::binaries::kubernetes_minor;
use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Answer, ControlPlane, Guard, Identity, eventually};
use codex_k8s_webhook::check::{CheckRequest, Checker, Document, Evaluation, Requester, Verdict};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::harness::*;
use crate::pod_security::enforcing;
use cases::{CASES, Expected};
use generate::Random;
use pods::{Outcome, Senders};

/// The first minor version whose API server validates the Pod template of a `StatefulSet`. Before, it validates only the
/// Pods, which have the defaults of the `LimitRange` then.
const STATEFUL_SETS_ARE_VALIDATED: u32 = 34;

const SEED: u64 = 17;
const WORKLOADS: u64 = 400;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Returns true if the API server does not validate the Pod template of a workload.
fn is_not_validated(workload: &Value) -> bool {
    workload["kind"] == "StatefulSet" && kubernetes_minor().unwrap() < STATEFUL_SETS_ARE_VALIDATED
}

/// Returns true if the API server drops a field that the offline check evaluates, because it knows only the newest version.
fn is_changed_by_the_api_server(workload: &Value) -> bool {
    kubernetes_minor().unwrap() < 33 && workload.to_string().contains("procMount")
}

/// Returns true if an answer is of the API server's own validation.
fn is_invalid(answer: &Answer) -> bool {
    answer.code == 422 && !answer.message().contains("denied the request")
}

/// The messages of a refusal.
fn messages(answer: &Answer) -> String {
    let causes =
        answer.body.pointer("/details/causes").and_then(Value::as_array).cloned().unwrap_or_default();
    let cause = |cause: &Value| {
        let text = |field: &str| cause[field].as_str().unwrap_or_default().to_owned();
        format!("\n{}: {}: {}", text("reason"), text("field"), text("message"))
    };
    answer.message().to_owned() + &causes.iter().map(cause).collect::<String>()
}

/// A Job of a case: images are added to its containers.
fn job_of(yaml: &str) -> Value {
    let mut spec: Value = serde_saphyr::from_str(yaml).unwrap();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["image"] = "busybox:1.36".into();
        }
    }
    generate::job(spec)
}

/// Returns the difference between an outcome and the expected one.
fn differs(outcome: &Outcome, expected: Expected) -> Option<String> {
    let has_refused = |words: &[&str]| matches!(outcome, Outcome::Refused(answer) if words.iter().all(|words| messages(answer).contains(words)));
    let is_right = match expected {
        Expected::Runs => matches!(outcome, Outcome::Runs),
        Expected::Refused(rule, words) => has_refused(&[rule, words]),
        Expected::Invalid(words) => has_refused(&[words]) && !has_refused(&["denied the request"]),
    };
    (!is_right).then(|| match outcome {
        Outcome::Runs => "its Pods are admitted".to_owned(),
        Outcome::Refused(answer) => format!("refused: {}", messages(answer)),
        Outcome::NeverRuns(answer) => format!("its Pods never run: {}", messages(answer)),
    })
}

#[test]
fn a_job_with_impossible_resources_is_refused_and_another_one_runs() {
    let namespace = managed();
    let wrong = runtime().block_on(async {
        let senders = Senders::new(cluster(), &namespace, &Identity::developer()).await;
        let mut wrong = String::new();
        for (name, yaml, expected) in CASES {
            let outcome = senders.send(&job_of(yaml)).await;
            wrong += &differs(&outcome, *expected).map(|it| format!("\n{name}: {it}")).unwrap_or_default();
        }
        wrong
    });
    assert_eq!(wrong, "");
}

/// Evaluates a workload that a developer creates in a namespace of a level, offline.
async fn evaluated_offline(workload: Value, level: Level) -> Evaluation {
    let (mut policy, mut namespace) = (RunPolicy::default(), namespace("codex-issue-7"));
    policy.quotas = serde_json::from_value(json!({"cluster": null, "perRequester": null})).unwrap();
    namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = level.as_str().into();
    let requester = Requester { user: "jane".to_owned(), groups: Vec::new() };
    let request =
        CheckRequest { default_namespace: "codex-issue-7".to_owned(), ..CheckRequest::creation(requester) };
    let documents = [namespace, workload].map(Document::of_nowhere);
    Checker::new(policy, request).evaluate_all(&documents).await.unwrap().pop().unwrap()
}

#[test]
fn the_offline_check_knows_impossible_resources_too() {
    for (name, yaml, expected) in CASES {
        let evaluation = runtime().block_on(evaluated_offline(job_of(yaml), Level::Baseline));
        let rule = match expected {
            Expected::Runs => None,
            Expected::Refused(rule, _) => Some(*rule),
            Expected::Invalid(_) => Some("JOB026"),
        };
        assert_eq!(rule.is_some(), evaluation.result == Verdict::Denied, "{name}: {:?}", evaluation.message);
        assert!(
            rule.is_none_or(|rule| evaluation.rules().contains(&rule)),
            "{name}: {:?}",
            evaluation.message
        );
    }
}

fn list(namespace: &str, plural: &str) -> Value {
    let path = format!("/api/v1/namespaces/{namespace}/{plural}");
    let get = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
    get.body(&Value::Null).admitted()
}

/// A namespace that is not managed, with a quota, a LimitRange or both.
fn unmanaged_with(specs: &[(BaselineKind, Value)]) -> String {
    let namespace = unmanaged();
    for (kind, spec) in specs {
        let path = format!("/api/v1/namespaces/{namespace}/{}", kind.plural());
        let object =
            json!({"apiVersion": "v1", "kind": kind.as_str(), "metadata": {"name": "run"}, "spec": spec});
        create(&Identity::Admin, &path, &object).admitted();
    }
    eventually("the quota counts and Pods can be created", Duration::from_secs(30), || {
        let quotas = list(&namespace, "resourcequotas");
        let count = |quota: &Value| quota.pointer("/status/used").is_some();
        let accounts = list(&namespace, "serviceaccounts");
        let are_ready = quotas["items"].as_array().unwrap().iter().all(count);
        (are_ready && !accounts["items"].as_array().unwrap().is_empty()).then_some(())
    })
    .unwrap();
    namespace
}

/// A namespace that is not managed, with the same quota and LimitRange as a run namespace.
fn unmanaged_with_limits_of(managed: &str) -> String {
    let specs = [BaselineKind::ResourceQuota, BaselineKind::LimitRange].map(|kind| {
        let found = list(managed, kind.plural());
        (kind, found["items"][0]["spec"].clone())
    });
    unmanaged_with(&specs)
}

/// The outcomes of generated workloads.
#[derive(Debug, Default)]
struct Outcomes {
    admitted: usize,
    /// Refused by the API server itself.
    invalid: usize,
    /// Refused by the rules.
    refused: usize,
    /// Admitted, although their Pods are refused.
    never_run: Vec<String>,
    /// Refused by the rules, although their Pods would run.
    would_run: Vec<String>,
    /// Compared with the verdict of the offline check.
    compared: usize,
    /// Admitted offline and refused by the rules of the webhook, or the other way round.
    disagree: Vec<String>,
}

impl Outcomes {
    fn summary(&self) -> String {
        let Self { admitted, invalid, refused, never_run, would_run, .. } = self;
        format!(
            "seeds {SEED} to {}: {admitted} admitted, {invalid} invalid, {refused} refused by the rules, {} admitted \
             that never run, {} refused that would run",
            SEED + WORKLOADS - 1,
            never_run.len(),
            would_run.len()
        )
    }
}

#[test]
fn of_generated_workloads_those_are_admitted_whose_pods_are() {
    let namespace = managed();
    let plain = unmanaged_with_limits_of(&namespace);
    let mut outcomes = Outcomes::default();
    runtime().block_on(async {
        let developer = Identity::developer();
        let senders = Senders::new(cluster(), &namespace, &developer).await;
        let elsewhere = Senders::new(cluster(), &plain, &developer).await;
        for seed in SEED..SEED + WORKLOADS {
            let workload = generate::workload(&mut Random::new(seed));
            let about = |answer: &Answer| format!("seed {seed}: {workload}\n  {}", messages(answer));
            match senders.send(&workload).await {
                Outcome::Runs => outcomes.admitted += 1,
                Outcome::NeverRuns(answer) if is_invalid(&answer) && is_not_validated(&workload) => {
                    outcomes.invalid += 1;
                }
                Outcome::NeverRuns(answer) => outcomes.never_run.push(about(&answer)),
                Outcome::Refused(answer) if !answer.message().contains("denied the request") => {
                    outcomes.invalid += 1;
                }
                Outcome::Refused(answer) => {
                    outcomes.refused += 1;
                    let would_run = !is_not_validated(&workload)
                        && matches!(elsewhere.send(&workload).await, Outcome::Runs);
                    outcomes.would_run.extend(would_run.then(|| about(&answer)));
                }
            }
        }
    });
    let summary = outcomes.summary();
    println!("{summary}");
    let wrong = [&outcomes.never_run[..], &outcomes.would_run].concat();
    assert!(wrong.is_empty(), "{summary}\n{}", wrong.join("\n"));
    assert!(outcomes.admitted > 100 && outcomes.invalid > 20 && outcomes.refused > 50, "{summary}");
}

/// Returns the level of the namespace in which a developer creates the workload of a seed; `None` if another user does.
fn offline_at(seed: u64) -> Option<Level> {
    match (seed - SEED) % 6 {
        0 => Some(Level::Baseline),
        3 => Some(Level::Restricted),
        _ => None,
    }
}

/// The number of workloads with random fields; `CODEX_K8S_GUARD_WORKLOADS` is another one.
const WITH_FIELDS: u64 = 1000;

/// Sends workloads with random fields, and returns the outcomes.
async fn sent(cluster: &ControlPlane, namespaces: &[String], count: u64) -> Outcomes {
    let mut senders = Vec::new();
    for namespace in namespaces {
        for user in [Identity::developer(), Identity::agent(namespace), Identity::worker()] {
            senders.push(Senders::new(cluster, namespace, &user).await);
        }
    }
    let mut outcomes = Outcomes::default();
    for (seed, sender) in (SEED..SEED + count).zip(senders.iter().cycle()) {
        let workload = generate::workload_with_fields(&mut Random::new(seed));
        let outcome = sender.send(&workload).await;
        let by_rules = match &outcome {
            Outcome::Refused(answer) => answer.message().contains("denied the request").then_some(true),
            _ => Some(false),
        };
        let is_compared = !is_changed_by_the_api_server(&workload);
        let offline = offline_at(seed).zip(by_rules).filter(|_| is_compared);
        outcomes.compared += usize::from(offline.is_some());
        if let Some((level, by_rules)) = offline
            && (evaluated_offline(workload.clone(), level).await.result == Verdict::Denied) != by_rules
        {
            outcomes.disagree.push(format!("seed {seed} at {level:?}: {workload}\n  {outcome:?}"));
        }
        match outcome {
            Outcome::Runs => outcomes.admitted += 1,
            Outcome::NeverRuns(answer) if is_invalid(&answer) && is_not_validated(&workload) => {
                outcomes.invalid += 1;
            }
            Outcome::NeverRuns(answer) => {
                outcomes.never_run.push(format!("seed {seed}: {workload}\n  {}", messages(&answer)));
            }
            Outcome::Refused(answer) if answer.message().contains("denied the request") => {
                outcomes.refused += 1;
            }
            Outcome::Refused(_) => outcomes.invalid += 1,
        }
    }
    outcomes
}

#[test]
fn no_workload_with_any_field_is_admitted_whose_pods_are_refused() {
    let count =
        std::env::var("CODEX_K8S_GUARD_WORKLOADS").map_or(WITH_FIELDS, |count| count.parse().unwrap());
    let guard = Guard::start_with_policy(playground(), WITHOUT_QUOTAS).unwrap();
    let cluster = &guard.control_plane;
    let namespaces = [Level::Baseline, Level::Restricted].map(|level| enforcing(cluster, level, None));
    let outcomes = runtime().block_on(sent(cluster, &namespaces, count));
    let Outcomes { admitted, invalid, refused, never_run, .. } = &outcomes;
    let summary = format!(
        "seeds {SEED} to {}: {admitted} admitted, {invalid} invalid, {refused} refused by the rules, {} admitted that \
         never run; of {} the offline check disagrees on {}",
        SEED + count - 1,
        never_run.len(),
        outcomes.compared,
        outcomes.disagree.len()
    );
    println!("{summary}");
    assert!(never_run.is_empty(), "{summary}\n{}", never_run.join("\n"));
    assert!(outcomes.disagree.is_empty(), "{summary}\n{}", outcomes.disagree.join("\n"));
    let sent = usize::try_from(count).unwrap();
    assert!(*admitted > sent / 10 && *refused > sent / 10 && outcomes.compared > sent / 10, "{summary}");
}

/// The `LimitRange` settings with which generated Pods are created.
fn limit_ranges() -> [Value; 4] {
    [
        json!({"default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "250m", "memory": "256Mi"}}),
        json!({"default": {"cpu": "300m", "ephemeral-storage": "1Gi"}, "defaultRequest": {"memory": "1Gi"}}),
        json!({"default": {"example.com/gpu": "1", "hugepages-2Mi": "2Mi"}, "defaultRequest": {"cpu": "100m"}}),
        json!({"default": {}}),
    ]
}

#[test]
fn our_verdict_on_the_resources_of_generated_pods_is_that_of_the_api_server() {
    let (mut valid, mut invalid, mut wrong) = (0, 0, Vec::new());
    for range in limit_ranges() {
        let mut item = range.clone();
        item["type"] = "Container".into();
        let namespace = unmanaged_with(&[(BaselineKind::LimitRange, json!({"limits": [item]}))]);
        let mut settings = range.clone();
        settings["name"] = "run".into();
        let settings: LimitSettings = serde_json::from_value(settings).unwrap();
        runtime().block_on(async {
            let senders = Senders::new(cluster(), &namespace, &Identity::developer()).await;
            for seed in SEED..SEED + 100 {
                let mut spec = generate::pod_spec(&mut Random::new(seed));
                // The API server denies every overhead in a Pod.
                spec.as_object_mut().unwrap().remove("overhead");
                let found = problems(&PodResources::of_pod(&spec, Some(&settings)));
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
                let outcome = senders.send(&pod).await;
                let is_right = match &outcome {
                    Outcome::Refused(answer) => answer.code == 422 && !found.is_empty(),
                    _ => found.is_empty(),
                };
                let counted = if found.is_empty() { &mut valid } else { &mut invalid };
                *counted += 1;
                wrong.extend((!is_right).then(|| format!("{range} {pod}\n  {found:?}\n  {outcome:?}")));
            }
        });
    }
    assert!(wrong.is_empty(), "{} of {valid} and {invalid}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(valid > 50 && invalid > 50, "{valid} are valid, {invalid} are not");
}
