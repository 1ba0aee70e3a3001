//! The other side of the contract: the Namespace and the Job of a run, as the platform's worker creates them.
//!
//! The result depends only on the run and the policy, not on a clock, a cluster or a requester. The webhook adds what
//! depends on these (the times of the lease, the requester) when the Namespace is created.

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
pub(crate) use error::RenderError;
pub use state::State;

/// The specification of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its project; empty if it has none.
    pub project: ProjectId,
    /// The id that connects all its audit rows.
    pub correlation_id: String,
    /// The platform release of its payload.
    pub release: Release,
    /// Its payload.
    pub payload: RunPayload,
}

/// Values that are not in the payload: the settings of the platform's worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// A prefix of the policy; by default, its first one.
    pub prefix: Option<String>,
    /// The namespace of runs without their own; by default, the first platform namespace of the policy.
    pub platform_namespace: Option<String>,
    /// The image of the agent; by default, the contract's.
    pub image: Option<String>,
    /// The shell command of the agent; by default, the contract's.
    pub command: Option<String>,
    /// The slot number for the agent.
    pub slot: u32,
}

/// The objects of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// Its namespace; `None` for a run that works in a namespace of the platform.
    pub namespace: Option<Namespace>,
    /// The Job of its agent.
    pub job: Job,
}

/// Parses a payload. The worker treats an unreadable payload as an empty one, whose run is `code-only`. This function
/// returns an error instead, because a user who wants manifests needs to see it.
///
/// # Errors
/// [`RenderError::Payload`], with line and column.
pub fn read_payload(json: &str) -> Result<RunPayload, RenderError> {
    // Serde would accept a list as the fields of the object, in their order.
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json)?;
    Ok(serde_json::from_str(json)?)
}

/// Returns the platform release of a payload: `runtime` contains the decisions of the control plane of B.
pub const fn release_of(payload: &RunPayload) -> Release {
    if payload.runtime.is_some() { Release::B } else { Release::A }
}

/// Renders a run. The same run gives the same objects at any time.
///
/// # Errors
/// [`RenderError`], if the platform does not start a Job for such a run, or its names could be those of another run.
pub fn render(policy: &RunPolicy, settings: &Settings, run: &Run) -> Result<Manifests, RenderError> {
    if !codex_k8s_shared::names::is_identified_by_names(run.id.as_str()) {
        return Err(RenderError::RunId { found: run.id.to_string() });
    }
    has_an_agent_job(run)?;
    let mode = mode(run)?;
    let target = namespace::target(policy, settings, run, mode)?;
    let job = job::job(policy, settings, run, mode, &target.name);
    let namespace = target.is_of_the_run.then(|| namespace::namespace(policy, run, mode, &target.name));
    Ok(Manifests { namespace, job })
}

/// Rejects runs for which the worker of B creates a bare Pod, and runs that it refuses.
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

/// Returns the runtime mode. The worker treats an unknown mode as `code-only`; here it is an error.
fn mode(run: &Run) -> Result<RuntimeMode, RenderError> {
    let text = run.payload.runtime.as_ref().map_or("", |runtime| runtime.mode.trim());
    if run.release == Release::B && !text.is_empty() {
        return Ok(text.parse()?);
    }
    Ok(run.payload.runtime_mode(run.release))
}

#[cfg(test)]
mod tests;
