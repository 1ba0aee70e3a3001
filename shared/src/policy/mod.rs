//! `RunPolicy`: one file, in the style of Kubernetes component configuration, for webhook, garbage collector and CLI.
//!
//! The defaults are the platform's own values (contract.md, point A), widened where point B's traffic would
//! otherwise be refused, so that everything works without a file. A field that is not known is an error with
//! its line and column: a misspelt guard is worse than none.

mod baseline;
mod cleanup;
mod guard;
mod profile;
mod quotas;
mod settings;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use baseline::{Access, AccessProfile, Baseline, BaselineSet, LimitSettings, PolicyRule, QuotaSettings};
pub use cleanup::{
    Breaker, ByOutcome, Cleanup, MissingLease, Retention, Retentions, UnknownRun, UnverifiedOrigin,
};
pub use guard::{Rbac, Tokens};
pub use profile::Profile;
pub use quotas::{Limit, ProjectLimit, Quotas};
pub use settings::{
    Bounds, Creation, Identities, Jobs, LeasePolicy, Level, Mode, Namespaces, PodSecurity, Rules,
    SecurityLevels, ServiceAccounts, Subjects, Toleration,
};

/// The only `apiVersion` that this version reads.
pub const API_VERSION: &str = "policy.codex-k8s.dev/v1alpha1";
/// The only `kind` that this version reads.
pub const KIND: &str = "RunPolicy";

/// What run namespaces and agent Jobs must look like, who may change them, and how strictly each rule is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunPolicy {
    /// Always `policy.codex-k8s.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `RunPolicy`.
    pub kind: Kind,
    /// Who the platform's own programs are.
    #[serde(default)]
    pub identities: Identities,
    /// Which namespaces are run namespaces, and which never can be.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// How long a run namespace lives.
    #[serde(default)]
    pub lease: LeasePolicy,
    /// The Pod Security levels that run namespaces are born with.
    #[serde(default)]
    pub pod_security: PodSecurity,
    /// What every run namespace holds before anything runs in it.
    #[serde(default)]
    pub baseline: Baseline,
    /// What Jobs, `CronJobs` and Pods in run namespaces may ask for.
    #[serde(default)]
    pub jobs: Jobs,
    /// Which expired namespaces are deleted, and how carefully.
    #[serde(default)]
    pub cleanup: Cleanup,
    /// Which roles may be bound in run namespaces, and to whom, beside the profiles'.
    #[serde(default)]
    pub rbac: Rbac,
    /// Which tokens of `ServiceAccounts` of run namespaces may be asked for.
    #[serde(default)]
    pub tokens: Tokens,
    /// How many run namespaces may work at once.
    #[serde(default)]
    pub quotas: Quotas,
    /// A mode for a rule, by its id, where it is not the rule's own default.
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

/// Why a policy text was refused. The message names the place: line, column and field.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not YAML, a field that is not known, or a value of the wrong form.
    #[error("the policy does not parse: {0}")]
    Parse(String),
    /// It parses, but its values contradict each other.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field, as a path in the document.
        field: String,
        /// What is wrong with it and what is expected.
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
            rbac: Rbac::default(),
            tokens: Tokens::default(),
            quotas: Quotas::default(),
            rules: Rules::default(),
        }
    }
}

impl RunPolicy {
    /// Reads a policy from YAML (or JSON, which is YAML) and checks that its values fit together.
    ///
    /// # Errors
    /// [`PolicyError`], which names the field, what was found and what is expected.
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        let mut policy: Self =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Parse(error.to_string()))?;
        policy.quotas.managers.clone_from(&policy.identities.managers.users);
        policy.check()?;
        Ok(policy)
    }

    /// Refuses values that are well formed one by one but contradict each other.
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
        self.quotas.check(&self.lease)
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the policy in canonical form: equal policies have equal
    /// hashes, whatever the comments and the order of their files.
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
