//! The namespace of a run.

use std::collections::BTreeMap;

use codex_k8s_shared::identity::{AgentKey, IssueNumber};
use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::{AccessProfile, Release, RuntimeMode};
use codex_k8s_shared::sanitize::{LONGEST, sanitize_dns};
use codex_k8s_shared::{keys, names};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{RenderError, Run, Settings};

/// The namespace that a run works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// True if it is the run's own. Otherwise it belongs to the platform, and its Namespace is not rendered.
    pub(super) is_of_the_run: bool,
}

/// Chooses the namespace of a run: the one in the payload (B), or else its own if it is `full-env`, or else the
/// platform namespace.
pub(super) fn target(
    policy: &RunPolicy,
    settings: &Settings,
    run: &Run,
    mode: RuntimeMode,
) -> Result<Target, RenderError> {
    if let Some(name) = given(run) {
        return given_target(policy, run, mode, name);
    }
    if mode == RuntimeMode::FullEnv {
        return Ok(Target { name: built_name(policy, settings, run)?, is_of_the_run: true });
    }
    let platform_namespace =
        settings.platform_namespace.as_ref().or_else(|| policy.namespaces.platform.first());
    let name = platform_namespace.ok_or(RenderError::NoPlatformNamespace)?.clone();
    Ok(Target { name, is_of_the_run: false })
}

/// Returns the namespace that the control plane of B has chosen.
fn given(run: &Run) -> Option<String> {
    let runtime = run.payload.runtime.as_ref().filter(|_| run.release == Release::B)?;
    Some(sanitize_dns(&runtime.namespace)).filter(|name| !name.is_empty())
}

fn given_target(
    policy: &RunPolicy,
    run: &Run,
    mode: RuntimeMode,
    name: String,
) -> Result<Target, RenderError> {
    if name.len() > LONGEST {
        return Err(RenderError::Namespace { found: name, expected: "expected at most 63 characters" });
    }
    if !policy.namespaces.is_protected(&name) {
        return Ok(Target { name, is_of_the_run: true });
    }
    if mode == RuntimeMode::FullEnv && access(run) != AccessProfile::ProductionReadonly {
        let expected = "it is protected by the policy, and only runs with the access profile production-readonly work there";
        return Err(RenderError::Namespace { found: name, expected });
    }
    Ok(Target { name, is_of_the_run: false })
}

/// Returns the access profile of a `full-env` run.
pub(super) fn access(run: &Run) -> AccessProfile {
    let given = run.payload.runtime.as_ref().filter(|_| run.release == Release::B);
    given.map_or_else(AccessProfile::default, |runtime| {
        AccessProfile::parse_like_platform(&runtime.access_profile)
    })
}

/// Builds the name from the template. A name that would be truncated is an error, because its end identifies the run.
fn built_name(policy: &RunPolicy, settings: &Settings, run: &Run) -> Result<String, RenderError> {
    let prefixes = &policy.namespaces.prefixes;
    let prefix = match &settings.prefix {
        Some(prefix) => sanitize_dns(prefix),
        None => prefixes.first().map_or(names::DEFAULT_PREFIX, String::as_str).to_owned(),
    };
    if !prefixes.is_empty() && !prefixes.contains(&prefix) {
        return Err(RenderError::Prefix { found: prefix, prefixes: prefixes.clone() });
    }
    let issue = run.payload.issue_number(run.release).map_or(0, IssueNumber::get);
    let name = names::whole_run_namespace_name(&prefix, run.project.as_str(), run.id.as_str(), issue);
    if name.len() > LONGEST {
        let longest = (prefix.len() + LONGEST).saturating_sub(name.len());
        return Err(RenderError::Cut { prefix, name, longest });
    }
    Ok(name)
}

/// Builds the Namespace. At A it has no lease. At B it has only the ttl, because the times depend on the creation.
pub(super) fn namespace(policy: &RunPolicy, run: &Run, mode: RuntimeMode, name: &str) -> Namespace {
    let mut labels = BTreeMap::from([
        (keys::MANAGED_BY.to_owned(), keys::MANAGED_BY_VALUE.to_owned()),
        (keys::NAMESPACE_PURPOSE.to_owned(), keys::NAMESPACE_PURPOSE_VALUE.to_owned()),
        (keys::RUNTIME_MODE.to_owned(), mode.to_string()),
        (keys::RUN_ID.to_owned(), run.id.label()),
        (keys::PROJECT_ID.to_owned(), run.project.label()),
    ]);
    let mut annotations = BTreeMap::from([(keys::CORRELATION_ID.to_owned(), run.correlation_id.clone())]);
    if run.release == Release::B {
        let issue = run.payload.issue_number(run.release);
        labels.extend(issue.map(|issue| (keys::ISSUE_NUMBER.to_owned(), issue.to_string())));
        let agent = run.payload.agent.as_ref().and_then(|agent| AgentKey::new(&agent.key).optional_label());
        let ttl = GoDuration::from(policy.lease.ttl_for(agent.as_deref()));
        labels.extend(agent.map(|agent| (keys::AGENT_KEY.to_owned(), agent)));
        annotations.insert(keys::NAMESPACE_LEASE_TTL.to_owned(), ttl.to_string());
    }
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Namespace { metadata, ..Namespace::default() }
}
