//! Errors of rendering.

use codex_k8s_shared::run::RuntimeModeError;

/// The reason why a run has no manifests. Each error names the field, the value that was found and the expected one.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The payload is not JSON, or a field has the wrong type.
    #[error(
        "the run's payload is none; expected JSON such as {{\"trigger\":{{\"kind\":\"dev\"}},\"issue\":{{\"number\":42}}}}"
    )]
    Payload(#[from] serde_json::Error),
    /// An unknown runtime mode.
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
        /// The value that was found.
        found: &'static str,
        /// The reason, with the program that does the work instead.
        why: &'static str,
    },
    /// The names of the run could be those of another run.
    #[error(
        "run id: found {found:?}, of which names hold 12 characters only: those of two such runs could be the same; \
         expected a random UUID (version 4), or at most 12 lower-case letters and digits"
    )]
    RunId {
        /// The id.
        found: String,
    },
    /// A name that would be truncated at the run's part.
    #[error(
        "namespace prefix: found {prefix:?}, with which the name {name} has {} characters and would be cut to 63: what is \
         cut off is of the run, and two runs could get one name; use a prefix of at most {longest} characters",
        name.len()
    )]
    Cut {
        /// The prefix.
        prefix: String,
        /// The full name.
        name: String,
        /// The maximum prefix length for this run.
        longest: usize,
    },
    /// A prefix that the policy does not list.
    #[error("namespace prefix: found {found:?}; expected one of namespaces.prefixes of the policy: {}", prefixes.join(", "))]
    Prefix {
        /// The prefix.
        found: String,
        /// The prefixes of the policy.
        prefixes: Vec<String>,
    },
    /// A given namespace that cannot be a run's.
    #[error("runtime.namespace of the payload: found {found:?}; {expected}")]
    Namespace {
        /// The namespace.
        found: String,
        /// The expected value.
        expected: &'static str,
    },
    /// A run without its own namespace, if there is no platform namespace.
    #[error(
        "the run is code-only and works in the platform's own namespace; name it: --platform-namespace, or namespaces.platform of the policy"
    )]
    NoPlatformNamespace,
}
