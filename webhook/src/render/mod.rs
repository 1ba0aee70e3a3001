//! The other side of the contract: the Namespace and the Job of a run, as the platform's worker creates them.
//!
//! What is rendered follows from the run and the policy alone. It knows no clock, no cluster and no requester: what
//! follows from these (the times of the lease, who asked) is added by the webhook when the Namespace is created.

mod apply;
mod error;
mod job;
mod namespace;
mod state;

use codex_k8s_shared::identity::{ProjectId, RunId};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::{Release, RunPayload, RuntimeMode};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;

pub use apply::{Applied, ApplyError, Cluster, is_final};
pub use error::RenderError;
pub use state::State;

/// A run, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its project; empty if it has none.
    pub project: ProjectId,
    /// What ties all its rows together.
    pub correlation_id: String,
    /// The state of the platform that its payload is of.
    pub release: Release,
    /// Its payload.
    pub payload: RunPayload,
}

/// What a payload does not say: the settings of the platform's worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// A prefix of the policy; its first, without one.
    pub prefix: Option<String>,
    /// The namespace of runs that get none of their own; the policy's first home, without one.
    pub platform_namespace: Option<String>,
    /// The image of the agent; the contract's, without one.
    pub image: Option<String>,
    /// The shell command of the agent; the contract's, without one.
    pub command: Option<String>,
    /// The slot that the agent is told.
    pub slot: u32,
}

/// The objects of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// Its namespace; none for a run that works in one of the platform's own.
    pub namespace: Option<Namespace>,
    /// The Job of its agent.
    pub job: Job,
}

/// Reads a payload. The worker takes one that it cannot read for an empty one, whose run is `code-only`; whoever asks for
/// manifests is told what is wrong with it instead.
///
/// # Errors
/// [`RenderError::Payload`], with line and column.
pub fn read_payload(json: &str) -> Result<RunPayload, RenderError> {
    // A list would be read as the fields of an object, in their order.
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json)?;
    Ok(serde_json::from_str(json)?)
}

/// The state of the platform that a payload is of: its `runtime` is what the control-plane of B decided.
pub const fn release_of(payload: &RunPayload) -> Release {
    if payload.runtime.is_some() { Release::B } else { Release::A }
}

/// Renders a run: the same run gives the same objects at any time.
///
/// # Errors
/// [`RenderError`], if the platform starts no Job for such a run, or the names of two such runs could be one.
pub fn render(policy: &RunPolicy, settings: &Settings, run: &Run) -> Result<Manifests, RenderError> {
    if !codex_k8s_shared::names::is_told_by_names(run.id.as_str()) {
        return Err(RenderError::RunId { found: run.id.to_string() });
    }
    has_an_agent_job(run)?;
    let mode = mode(run)?;
    let target = namespace::target(policy, settings, run, mode)?;
    let job = job::job(policy, settings, run, mode, &target.name);
    let namespace = target.is_of_the_run.then(|| namespace::namespace(policy, run, mode, &target.name));
    Ok(Manifests { namespace, job })
}

/// The worker of B starts bare Pods for some runs, and refuses others.
fn has_an_agent_job(run: &Run) -> Result<(), RenderError> {
    let payload = &run.payload;
    let kind = payload.trigger.as_ref().map_or("", |trigger| trigger.kind.as_str());
    if run.release == Release::A {
        return Ok(());
    }
    if kind == "ai_repair" {
        return Err(RenderError::NoJob {
            field: "trigger.kind",
            found: "\"ai_repair\"",
            why: "a bare Pod repairs",
        });
    }
    if payload.discussion_mode {
        let why = "a bare Pod holds a discussion";
        return Err(RenderError::NoJob { field: "discussion_mode", found: "true", why });
    }
    if payload.runtime.as_ref().is_some_and(|runtime| runtime.deploy_only) {
        let why = "a deployment has no agent";
        return Err(RenderError::NoJob { field: "runtime.deploy_only", found: "true", why });
    }
    let agent = payload.agent.clone().unwrap_or_default();
    for (field, value) in [("agent.key", agent.key), ("agent.name", agent.name)] {
        if value.trim().is_empty() {
            return Err(RenderError::Agent { field });
        }
    }
    Ok(())
}

/// The runtime mode. The worker takes a mode that it does not know for `code-only`; here it is an error.
fn mode(run: &Run) -> Result<RuntimeMode, RenderError> {
    let text = run.payload.runtime.as_ref().map_or("", |runtime| runtime.mode.trim());
    if run.release == Release::B && !text.is_empty() {
        return Ok(text.parse()?);
    }
    Ok(run.payload.runtime_mode(run.release))
}

#[cfg(test)]
mod tests;
