//! Why a run has no manifests.

use codex_k8s_shared::run::RuntimeModeError;

/// Why a run has no manifests. Each names the field, what was found there and what is expected.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The payload is no JSON, or a field of it is of another type.
    #[error(
        "the run's payload is none; expected JSON such as {{\"trigger\":{{\"kind\":\"dev\"}},\"issue\":{{\"number\":42}}}}"
    )]
    Payload(#[from] serde_json::Error),
    /// A runtime mode that does not exist.
    #[error("runtime.mode of the payload")]
    Mode(#[from] RuntimeModeError),
    /// The worker of B refuses the run.
    #[error("{field} of the payload: found nothing; the platform starts no run without it")]
    Agent {
        /// The field.
        field: &'static str,
    },
    /// The run has no agent Job.
    #[error("{field} of the payload: found {found}; {why}, so that there is no Job to render")]
    NoJob {
        /// The field.
        field: &'static str,
        /// What it is.
        found: &'static str,
        /// Who does the work instead.
        why: &'static str,
    },
    /// A run whose names could be another run's.
    #[error(
        "run id: found {found:?}, of which names hold 12 characters only: those of two such runs could be the same; \
         expected a random UUID (version 4), or at most 12 lower-case letters and digits"
    )]
    RunId {
        /// The id.
        found: String,
    },
    /// A name that would lose the end of its run.
    #[error(
        "namespace prefix: found {prefix:?}, with which the name {name} has {} characters and would be cut to 63: what is \
         cut off is of the run, and two runs could get one name; use a prefix of at most {longest} characters",
        name.len()
    )]
    Cut {
        /// The prefix.
        prefix: String,
        /// The whole name.
        name: String,
        /// The longest prefix that would do for this run.
        longest: usize,
    },
    /// A prefix that is none of the policy's.
    #[error("namespace prefix: found {found:?}; expected one of namespaces.prefixes of the policy: {}", prefixes.join(", "))]
    Prefix {
        /// The prefix.
        found: String,
        /// Those of the policy.
        prefixes: Vec<String>,
    },
    /// A namespace that is told and can be no run's.
    #[error("runtime.namespace of the payload: found {found:?}; {expected}")]
    Namespace {
        /// The namespace.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A run that gets no namespace of its own, and there is no other.
    #[error(
        "the run is code-only and works in the platform's own namespace; name it: --platform-namespace, or namespaces.platform of the policy"
    )]
    NoPlatformNamespace,
}
