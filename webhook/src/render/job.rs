//! The Job of a run's agent.

use std::collections::BTreeMap;

use codex_k8s_shared::identity::IssueNumber;
use codex_k8s_shared::policy::{Bounds, RunPolicy};
use codex_k8s_shared::run::{AccessProfile, Release, RuntimeMode};
use codex_k8s_shared::{baseline, keys, names};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::namespace::access;
use super::{Run, Settings};

/// The common label for the manager of a workload. It is not in the domain of the contract.
const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const IMAGE: &str = "busybox:1.36";
/// The claim with the repository of `full-env` agents of B.
const REPOSITORY_CLAIM: &str = "codex-k8s-repo-cache";
const REPOSITORY_VOLUME: &str = "repo-cache";

/// Returns the default shell command of the agent.
const fn usual_command(release: Release) -> &'static str {
    match release {
        Release::A => "echo codex-k8s run && sleep 2",
        Release::B => "/usr/local/bin/codex-k8s-agent-runner",
    }
}

pub(super) fn job(
    policy: &RunPolicy,
    settings: &Settings,
    run: &Run,
    mode: RuntimeMode,
    namespace: &str,
) -> Job {
    let whose = BTreeMap::from([
        (keys::APP_NAME.to_owned(), keys::APP_NAME_RUN.to_owned()),
        (keys::RUN_ID.to_owned(), run.id.to_string()),
    ]);
    let mut labels = whose.clone();
    labels.insert(APP_MANAGED_BY.to_owned(), keys::MANAGED_BY_VALUE.to_owned());
    labels.insert(keys::PROJECT_ID.to_owned(), run.project.label());
    let annotations = BTreeMap::from([(keys::CORRELATION_ID.to_owned(), run.correlation_id.clone())]);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(whose), ..ObjectMeta::default() }),
        spec: Some(pod(policy, settings, run, mode, namespace)),
    };
    let spec = JobSpec {
        active_deadline_seconds: Some(policy.jobs.active_deadline_seconds.default),
        backoff_limit: small(policy.jobs.backoff_limit),
        ttl_seconds_after_finished: small(policy.jobs.ttl_seconds_after_finished),
        template,
        ..JobSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(names::run_job_name(run.id.as_str())),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Job { metadata, spec: Some(spec), status: None }
}

/// Converts a default to the 32 bits of Kubernetes. A larger value is left out: the webhook will deny it.
fn small(bounds: Bounds) -> Option<i32> {
    i32::try_from(bounds.default).ok()
}

fn pod(policy: &RunPolicy, settings: &Settings, run: &Run, mode: RuntimeMode, namespace: &str) -> PodSpec {
    let has_repository = run.release == Release::B && mode == RuntimeMode::FullEnv;
    let mount = || VolumeMount {
        name: REPOSITORY_VOLUME.to_owned(),
        mount_path: "/workspace".to_owned(),
        ..VolumeMount::default()
    };
    let volume = || Volume {
        name: REPOSITORY_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: REPOSITORY_CLAIM.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    };
    let command = settings.command.as_deref().unwrap_or(usual_command(run.release));
    let container = Container {
        name: "run".to_owned(),
        image: Some(settings.image.as_deref().unwrap_or(IMAGE).to_owned()),
        command: Some(["/bin/sh", "-c", command].map(str::to_owned).to_vec()),
        env: Some(environment(settings, run, mode)),
        volume_mounts: has_repository.then(|| vec![mount()]),
        ..Container::default()
    };
    PodSpec {
        containers: vec![container],
        restart_policy: Some("Never".to_owned()),
        service_account_name: service_account(policy, run, mode, namespace),
        volumes: has_repository.then(|| vec![volume()]),
        ..PodSpec::default()
    }
}

/// Returns the ServiceAccount of the run's profile; `None` for a `code-only` run.
fn service_account(policy: &RunPolicy, run: &Run, mode: RuntimeMode, namespace: &str) -> Option<String> {
    if mode == RuntimeMode::CodeOnly {
        return None;
    }
    let profile = match access(run) {
        AccessProfile::ProductionReadonly => Some(&policy.baseline.read_only),
        AccessProfile::Candidate => {
            let slot = policy.namespaces.is_slot(namespace);
            policy.baseline.profile(baseline::set_of(policy, mode, slot).access)
        }
    };
    profile.map(|profile| profile.service_account.clone())
}

/// Returns the environment of the agent. At B, the platform adds its own addresses, models and tokens, which are not
/// part of a run.
fn environment(settings: &Settings, run: &Run, mode: RuntimeMode) -> Vec<EnvVar> {
    let mut variables = vec![
        ("RUN_ID", run.id.to_string()),
        ("CORRELATION_ID", run.correlation_id.clone()),
        ("PROJECT_ID", run.project.to_string()),
        ("SLOT_NO", settings.slot.to_string()),
        ("RUNTIME_MODE", mode.to_string()),
    ];
    if run.release == Release::B {
        variables.extend(variables_at_b(run).into_iter().filter(|(_, value)| !value.is_empty()));
    }
    let variable =
        |(name, value)| EnvVar { name: format!("CODEXK8S_{name}"), value: Some(value), value_from: None };
    variables.into_iter().map(variable).collect()
}

/// Returns the variables from the payload at B, in the contract's order; missing values are empty.
fn variables_at_b(run: &Run) -> Vec<(&'static str, String)> {
    let payload = run.payload.clone();
    let (runtime, agent) =
        (payload.runtime.clone().unwrap_or_default(), payload.agent.clone().unwrap_or_default());
    let access = match access(run) {
        AccessProfile::Candidate => "candidate",
        AccessProfile::ProductionReadonly => "production-readonly",
    };
    let issue = payload.issue_number(run.release).map(|issue| issue.to_string());
    let kind = payload.trigger.as_ref().map(|trigger| match trigger.kind.as_str() {
        "" => "dev".to_owned(),
        kind => kind.to_owned(),
    });
    let pull_request = payload.raw_payload.and_then(|raw| raw.pull_request).unwrap_or_default();
    let pull_number = IssueNumber::new(pull_request.number).map(|number| number.to_string());
    vec![
        ("RUNTIME_TARGET_ENV", runtime.target_env),
        ("RUNTIME_BUILD_REF", runtime.build_ref),
        ("RUNTIME_ACCESS_PROFILE", access.to_owned()),
        ("REPOSITORY_FULL_NAME", payload.repository.unwrap_or_default().full_name),
        ("ISSUE_NUMBER", issue.unwrap_or_default()),
        ("RUN_TRIGGER_KIND", kind.unwrap_or_default()),
        ("RUN_TRIGGER_LABEL", payload.trigger.unwrap_or_default().label),
        ("DISCUSSION_MODE", payload.discussion_mode.to_string()),
        ("RUN_TARGET_BRANCH", pull_request.head.unwrap_or_default().branch),
        ("EXISTING_PR_NUMBER", pull_number.unwrap_or_default()),
        ("AGENT_KEY", agent.key),
        ("AGENT_DISPLAY_NAME", agent.name),
    ]
}
