//! `RunPolicy`: one file, in the style of Kubernetes component configuration, for webhook, garbage collector and CLI.
//!
//! The defaults are the values of the platform's release A (contract.md), widened where requests of release B would
//! be denied otherwise, so no file is needed. An unknown field is an error with its line and column, because a
//! misspelled restriction would silently not apply.

mod audit_store;
mod baseline;
mod cleanup;
mod denials;
mod guard;
mod profile;
mod quotas;
mod settings;
mod worker;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use audit_store::AuditStorePolicy;
pub(crate) use baseline::{Access, AccessProfile, Baseline};
pub use baseline::{BaselineSet, LimitSettings, PolicyRule, QuotaSettings};
pub use cleanup::{Breaker, MissingLease, UnknownRun, UnverifiedOrigin};
pub(crate) use cleanup::{Cleanup, Retention};
pub use denials::Denials;
pub(crate) use guard::{Rbac, Tokens};
pub use profile::Profile;
pub use quotas::{Limit, ProjectLimit, Quotas};
pub use settings::{Bounds, Creation, Jobs, Level, Mode, Namespaces, SecurityLevels, Subjects};
pub(crate) use settings::{Identities, LeasePolicy, PodSecurity, Rules};
pub use worker::{FromWorker, is_of_worker};

/// The only `apiVersion` that is supported.
pub const API_VERSION: &str = "policy.codex-k8s.dev/v1alpha1";
/// The only `kind` that is supported.
pub const KIND: &str = "RunPolicy";

/// The policy for run namespaces and agent Jobs: their required form, the users that may change them, and the mode of
/// each rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunPolicy {
    /// Must be `policy.codex-k8s.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Must be `RunPolicy`.
    pub kind: Kind,
    /// The users and groups of the platform's programs and of the cluster's controllers.
    #[serde(default)]
    pub identities: Identities,
    /// The names of run namespaces, and the namespaces that can never be managed.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// The lifetime of run namespaces.
    #[serde(default)]
    pub lease: LeasePolicy,
    /// The Pod Security levels that run namespaces get when they are created.
    #[serde(default)]
    pub pod_security: PodSecurity,
    /// The objects that every run namespace has before any workload is admitted.
    #[serde(default)]
    pub baseline: Baseline,
    /// The limits of Jobs, `CronJobs` and Pods in run namespaces.
    #[serde(default)]
    pub jobs: Jobs,
    /// The deletion of expired namespaces, and its safeguards.
    #[serde(default)]
    pub cleanup: Cleanup,
    /// The audit rows about Jobs, and the lifetime of all rows.
    #[serde(default)]
    pub audit_store: AuditStorePolicy,
    /// The roles that may be bound in run namespaces in addition to those of the access profiles, and the subjects
    /// that they may be bound to.
    #[serde(default)]
    pub rbac: Rbac,
    /// The tokens that may be requested for `ServiceAccounts` of run namespaces.
    #[serde(default)]
    pub tokens: Tokens,
    /// The maximum numbers of concurrent run namespaces and agent Jobs.
    #[serde(default)]
    pub quotas: Quotas,
    /// The help that denials give to their readers.
    #[serde(default)]
    pub denials: Denials,
    /// Modes that override the defaults of rules, by rule id.
    #[serde(default)]
    pub rules: Rules,
}

/// The version of the policy format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// `policy.codex-k8s.dev/v1alpha1`
    #[default]
    #[serde(rename = "policy.codex-k8s.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of the policy document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// `RunPolicy`
    #[default]
    RunPolicy,
}

/// An invalid policy. The message contains line, column and field.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not YAML, an unknown field, or a value of the wrong type.
    #[error("the policy does not parse: {0}")]
    Parse(String),
    /// A policy whose values contradict each other.
    #[error("{field}: {problem}")]
    Invalid {
        /// The path of the field.
        field: String,
        /// The problem, and the expected value.
        problem: String,
    },
}

impl Default for RunPolicy {
    fn default() -> Self {
        Self {
            api_version: ApiVersion::V1Alpha1,
            kind: Kind::RunPolicy,
            identities: Identities::default(),
            namespaces: Namespaces::default(),
            lease: LeasePolicy::default(),
            pod_security: PodSecurity::default(),
            baseline: Baseline::default(),
            jobs: Jobs::default(),
            cleanup: Cleanup::default(),
            audit_store: AuditStorePolicy::default(),
            denials: Denials::default(),
            rbac: Rbac::default(),
            tokens: Tokens::default(),
            quotas: Quotas::default(),
            rules: Rules::default(),
        }
    }
}

impl RunPolicy {
    /// Reads a policy from YAML (or JSON, which is YAML) and checks that its values are consistent.
    ///
    /// # Errors
    /// [`PolicyError`], which names the field, its value and the expected value.
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        let mut policy: Self =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Parse(error.to_string()))?;
        policy.quotas.managers.clone_from(&policy.identities.managers.users);
        policy.check()?;
        Ok(policy)
    }

    /// Checks that values which are valid one by one do not contradict each other.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] for the first contradiction.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.namespaces.check()?;
        self.lease.check()?;
        self.baseline.check()?;
        self.jobs.check()?;
        self.rbac.check()?;
        self.tokens.check()?;
        self.cleanup.check()?;
        self.audit_store.check()?;
        self.denials.check()?;
        self.quotas.check(&self.lease)
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the policy in canonical form. Comments and the order of
    /// fields do not change it.
    pub fn hash(&self) -> String {
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(canonical).iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The JSON Schema of the policy file, for editors and pipelines.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }
}

pub(crate) fn invalid(field: &str, problem: impl Into<String>) -> PolicyError {
    PolicyError::Invalid { field: field.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests;
