mod names;

use codex_k8s_shared::policy::RunPolicy;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::check::{CheckRequest, Checker, Document, Requester, Verdict};

const A: &str = r#"{"trigger":{"kind":"dev"},"issue":{"number":77}}"#;
const B: &str = r#"{"repository":{"full_name":"o/r"},"trigger":{"kind":"dev","source":"issue_label","label":"run:dev"},"issue":{"number":77},"agent":{"key":"dev","name":"AI Developer"},"runtime":{"mode":"full-env","target_env":"ai","build_ref":"main","access_profile":"candidate"}}"#;
const RUN: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";
const PROJECT: &str = "a74d653c-adf0-5b7c-8c41-88ceadd6edd3";

fn run(payload: &str) -> Run {
    let payload = read_payload(payload).unwrap();
    Run {
        id: RunId::new(RUN),
        project: ProjectId::new(PROJECT),
        correlation_id: "c1".to_owned(),
        release: release_of(&payload),
        payload,
    }
}

fn rendered(payload: &str) -> Manifests {
    render(&RunPolicy::default(), &Settings::default(), &run(payload)).unwrap()
}

/// Returns the error of a run without manifests, with its causes.
fn refused_with(policy: &RunPolicy, settings: &Settings, run: &Run) -> String {
    format!("{:#}", anyhow::Error::from(render(policy, settings, run).unwrap_err()))
}

fn refused(payload: &str) -> String {
    refused_with(&RunPolicy::default(), &Settings::default(), &run(payload))
}

/// Returns the payload of B with another value at a pointer, which may be new.
fn b_with(pointer: &str, value: Value) -> String {
    let mut payload: Value = serde_json::from_str(B).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    payload.pointer_mut(parent).unwrap()[key] = value;
    payload.to_string()
}

/// Returns the object without the empty objects that Go's encoder writes.
fn plain(object: &impl Serialize) -> Value {
    fn without(value: Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| (key, without(value)))
                .filter(|(_, value)| value != &json!({}))
                .collect(),
            Value::Array(items) => items.into_iter().map(without).collect(),
            other => other,
        }
    }
    without(serde_json::to_value(object).unwrap())
}

fn fixture(yaml: &str) -> Value {
    plain(&serde_saphyr::from_str::<Value>(yaml).unwrap())
}

fn environment(job: &Job) -> Vec<(String, String)> {
    let spec = job.spec.clone().unwrap().template.spec.unwrap();
    let variables = spec.containers[0].env.clone().unwrap();
    variables.into_iter().map(|variable| (variable.name, variable.value.unwrap())).collect()
}

#[test]
fn the_runs_of_the_fixtures_give_the_fixtures() {
    let settings = Settings {
        image: Some("127.0.0.1:5000/codex-k8s/worker:latest".to_owned()),
        command: Some("echo codex-k8s run; sleep 2".to_owned()),
        slot: 1,
        ..Settings::default()
    };
    let full = Run {
        correlation_id: "8c1f5a40-0763-11f1-9b2e-5d3a4f6c7e10".to_owned(),
        ..run(r#"{"trigger":{"kind":"dev"},"issue":{"number":42}}"#)
    };
    let manifests = render(&RunPolicy::default(), &settings, &full).unwrap();
    assert_eq!(plain(&manifests.namespace), fixture(include_str!("../../../tests/fixtures/namespace.yaml")));
    assert_eq!(plain(&manifests.job), fixture(include_str!("../../../tests/fixtures/job-full-env.yaml")));
    let code_only = Run {
        id: RunId::new("c46d1f80-7b29-4e53-91ae-d5f3082b7c6a"),
        correlation_id: "1a9e3c70-0764-11f1-8f02-c1d7b94e6a35".to_owned(),
        ..run(r#"{"trigger":{"kind":"plan"},"issue":{"number":42}}"#)
    };
    let manifests = render(&RunPolicy::default(), &Settings { slot: 2, ..settings }, &code_only).unwrap();
    assert_eq!(manifests.namespace, None);
    assert_eq!(plain(&manifests.job), fixture(include_str!("../../../tests/fixtures/job-code-only.yaml")));
}

#[test]
fn at_b_a_namespace_reports_issue_agent_and_ttl_and_a_job_the_payload() {
    let policy = RunPolicy::from_yaml(
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nlease: {ttlByRole: {dev: 48h}}\n",
    )
    .unwrap();
    let run = run(&b_with("/raw_payload", json!({"pull_request": {"number": 5, "head": {"ref": "fix"}}})));
    let Manifests { namespace, job } = render(&policy, &Settings::default(), &run).unwrap();
    let metadata = namespace.unwrap().metadata;
    assert_eq!(metadata.name.unwrap(), "codex-issue-a74d653cadf0-i77-r3f2b8c1e9d47");
    let labels = metadata.labels.unwrap();
    assert_eq!((&*labels["codex-k8s.dev/issue-number"], &*labels["codex-k8s.dev/agent-key"]), ("77", "dev"));
    let annotations: Vec<_> = metadata.annotations.unwrap().into_iter().collect();
    assert_eq!(
        annotations,
        [
            ("codex-k8s.dev/correlation-id".to_owned(), "c1".to_owned()),
            ("codex-k8s.dev/namespace-lease-ttl".to_owned(), "48h0m0s".to_owned()),
        ]
    );
    let expected = [
        ("RUN_ID", RUN),
        ("CORRELATION_ID", "c1"),
        ("PROJECT_ID", PROJECT),
        ("SLOT_NO", "0"),
        ("RUNTIME_MODE", "full-env"),
        ("RUNTIME_TARGET_ENV", "ai"),
        ("RUNTIME_BUILD_REF", "main"),
        ("RUNTIME_ACCESS_PROFILE", "candidate"),
        ("REPOSITORY_FULL_NAME", "o/r"),
        ("ISSUE_NUMBER", "77"),
        ("RUN_TRIGGER_KIND", "dev"),
        ("RUN_TRIGGER_LABEL", "run:dev"),
        ("DISCUSSION_MODE", "false"),
        ("RUN_TARGET_BRANCH", "fix"),
        ("EXISTING_PR_NUMBER", "5"),
        ("AGENT_KEY", "dev"),
        ("AGENT_DISPLAY_NAME", "AI Developer"),
    ];
    let expected = expected.map(|(name, value)| (format!("CODEXK8S_{name}"), value.to_owned()));
    assert_eq!(environment(&job), expected);
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("codex-runner"));
    let claim = pod.volumes.unwrap()[0].persistent_volume_claim.clone().unwrap();
    assert_eq!(claim.claim_name, "codex-k8s-repo-cache");
}

#[test]
fn a_run_works_where_the_payload_and_the_mode_say() {
    let readonly = |namespace: &str| {
        let payload = b_with("/runtime/access_profile", "Production-Readonly".into());
        payload.replace(r#""mode":"full-env""#, &format!(r#""mode":"full-env","namespace":"{namespace}""#))
    };
    for (payload, namespace, own, account) in [
        (A.to_owned(), "codex-issue-a74d653cadf0-i77-r3f2b8c1e9d47", true, Some("codex-runner")),
        (
            r#"{"trigger":{"kind":"dev"}}"#.to_owned(),
            "codex-issue-run-3f2b8c1e9d47",
            true,
            Some("codex-runner"),
        ),
        ("{}".to_owned(), "codex-k8s-ai-staging", false, None),
        (b_with("/runtime/mode", "code-only".into()), "codex-k8s-ai-staging", false, None),
        (
            b_with("/runtime/mode", "".into()),
            "codex-issue-a74d653cadf0-i77-r3f2b8c1e9d47",
            true,
            Some("codex-runner"),
        ),
        (
            b_with("/runtime/namespace", "Codex_K8s.dev-2".into()),
            "codex-k8s-dev-2",
            true,
            Some("codex-runner"),
        ),
        (readonly("codex-k8s-prod"), "codex-k8s-prod", false, Some("codex-runner-readonly")),
        (readonly("codex-issue-x"), "codex-issue-x", true, Some("codex-runner-readonly")),
    ] {
        let Manifests { namespace: made, job } = rendered(&payload);
        assert_eq!(job.metadata.namespace.as_deref(), Some(namespace), "{payload}");
        let made = made.and_then(|made| made.metadata.name);
        assert_eq!(made.as_deref(), own.then_some(namespace), "{payload}");
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), account, "{payload}");
    }
}

#[test]
fn what_has_no_manifests_is_reported_with_its_field() {
    for (payload, expected) in [
        (b_with("/agent", json!({"key": "dev"})), "agent.name of the payload: found nothing"),
        (b_with("/agent", json!({"key": " ", "name": "x"})), "agent.key of the payload: found nothing"),
        (b_with("/discussion_mode", true.into()), "discussion_mode of the payload: found true; a bare Pod"),
        (
            b_with("/trigger/kind", "ai_repair".into()),
            "trigger.kind of the payload: found \"ai_repair\"; a bare Pod",
        ),
        (
            b_with("/runtime/deploy_only", true.into()),
            "runtime.deploy_only of the payload: found true; a deployment",
        ),
        (
            b_with("/runtime/mode", "full".into()),
            "runtime.mode of the payload: \"full\" is no runtime mode; expected \"full-env\"",
        ),
        (
            b_with("/runtime/namespace", "codex-k8s-prod".into()),
            "runtime.namespace of the payload: found \"codex-k8s-prod\"; it is protected",
        ),
        (b_with("/runtime/namespace", "x".repeat(64).into()), "expected at most 63 characters"),
    ] {
        let refused = refused(&payload);
        assert!(refused.contains(expected), "{payload}: {refused}");
    }
    for (json, expected) in [
        ("", "the run's payload is none; expected JSON such as {\"trigger\":"),
        ("[]", "invalid type: sequence, expected a map at line 1 column 0"),
        ("{\"trigger\":\n{\"kind\":7}}", "invalid type: integer `7`, expected a string at line 2 column 9"),
    ] {
        let error = format!("{:#}", anyhow::Error::from(read_payload(json).unwrap_err()));
        assert!(error.contains(expected), "{json}: {error}");
    }
    let mut policy = RunPolicy::default();
    policy.namespaces.platform.clear();
    assert!(
        refused_with(&policy, &Settings::default(), &run("{}")).contains("namespaces.platform of the policy")
    );
}

#[test]
fn a_prefix_is_one_of_the_policys() {
    let with = |prefix: &str| Settings { prefix: Some(prefix.to_owned()), ..Settings::default() };
    let manifests = render(&RunPolicy::default(), &with("Codex_Run"), &run(A)).unwrap();
    assert_eq!(manifests.job.metadata.namespace.unwrap(), "codex-run-a74d653cadf0-i77-r3f2b8c1e9d47");
    assert_eq!(
        refused_with(&RunPolicy::default(), &with("mine"), &run(A)),
        "namespace prefix: found \"mine\"; expected one of namespaces.prefixes of the policy: codex-issue, codex-run"
    );
}

#[tokio::test]
async fn the_webhook_changes_nothing_that_is_rendered_and_adds_nothing_to_the_job() {
    let worker = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
    let control_plane = "system:serviceaccount:codex-k8s-prod:codex-k8s-control-plane";
    for user in [control_plane, worker] {
        for payload in [A, B] {
            let Manifests { namespace, job } = rendered(payload);
            let requester = Requester { user: user.to_owned(), groups: Vec::new() };
            let checker = Checker::new(RunPolicy::default(), CheckRequest::creation(requester));
            let documents = [plain(&namespace), plain(&job)].map(Document::of_nowhere);
            let evaluated = checker.evaluate_all(&documents).await.unwrap();
            assert_eq!(evaluated[0].result, Verdict::Mutated, "{:?}", evaluated[0]);
            let changes = serde_json::to_value(&evaluated[0].patch).unwrap();
            for change in changes.as_array().unwrap() {
                assert_eq!(change["op"], "add", "{change}");
                assert_eq!(documents[0].object.pointer(change["path"].as_str().unwrap()), None, "{change}");
            }
            assert_eq!(evaluated[1].result, Verdict::Admitted, "{:?}", evaluated[1]);
        }
    }
}

#[test]
fn the_same_run_gives_the_same_bytes_whatever_the_order_of_its_payload() {
    let yaml = |payload: &str| {
        let Manifests { namespace, job } = rendered(payload);
        let written = (serde_saphyr::to_string(&namespace.unwrap()), serde_saphyr::to_string(&job));
        format!("{}---\n{}", written.0.unwrap(), written.1.unwrap())
    };
    let turned = r#"{"issue":{"number":77},"more":[1],"trigger":{"kind":"dev"}}"#;
    assert_eq!(yaml(A), yaml(turned));
    assert_eq!(yaml(A), include_str!("tests/a.yaml"));
    assert_eq!(yaml(B), include_str!("tests/b.yaml"));
}
