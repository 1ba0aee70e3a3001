//! The objects that every run namespace has before any workload is admitted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::strings;
use super::{PolicyError, invalid};
use crate::keys;
use crate::quota::quantity::Quantity;

/// The baseline of run namespaces. The defaults are the platform's own values: those of platform release A
/// (contract.md, section 3), and for slots those of release B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Baseline {
    /// The baseline of run namespaces in `full-env`.
    pub full_env: BaselineSet,
    /// The baseline of run namespaces in `code-only`.
    pub code_only: BaselineSet,
    /// The baseline of slots, which also hold the platform's own stack.
    pub slot: BaselineSet,
    /// The access profile `candidate`.
    pub candidate: AccessProfile,
    /// The access profile `read-only`.
    pub read_only: AccessProfile,
}

/// The baseline of one kind of namespace. All fields are required, because a partial baseline would mean less than it
/// says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaselineSet {
    /// The access profile whose ServiceAccount, Role and RoleBinding are created.
    pub access: Access,
    /// The ResourceQuota, or `null` for none.
    #[serde(deserialize_with = "written_out")]
    #[schemars(schema_with = "or_null::<QuotaSettings>")]
    pub resource_quota: Option<QuotaSettings>,
    /// The LimitRange, or `null` for none. A quota on CPU or memory rejects every Pod that does not request them; the
    /// LimitRange adds default requests to such Pods.
    #[serde(deserialize_with = "written_out")]
    #[schemars(schema_with = "or_null::<LimitSettings>")]
    pub limit_range: Option<LimitSettings>,
}

/// The access profile of agents in their namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// No access: the namespace gets no ServiceAccount of its own.
    None,
    /// The profile `candidate`.
    Candidate,
    /// The profile `read-only`.
    ReadOnly,
}

/// A ServiceAccount and the Role that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessProfile {
    /// The name of the ServiceAccount.
    pub service_account: String,
    /// The name of the Role.
    pub role: String,
    /// The name of the RoleBinding.
    pub role_binding: String,
    /// The rules of the Role. They are also the maximum that any Role in such a namespace may grant.
    pub rules: Vec<PolicyRule>,
    /// The annotations of the ServiceAccount, such as the name of a cloud's role for its identity webhook.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The names of the Secrets with which the ServiceAccount's Pods pull images.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
}

/// A rule of a Role, as in `rbac.authorization.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// The API groups. The empty string is the core group.
    pub api_groups: Vec<String>,
    /// The resources, with subresources in the form `pods/log`.
    pub resources: Vec<String>,
    /// The verbs.
    pub verbs: Vec<String>,
    /// The names that the rule is limited to. If empty, the rule applies to all names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// A ResourceQuota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaSettings {
    /// The name of the ResourceQuota.
    pub name: String,
    /// The hard limits, as in `spec.hard` of a ResourceQuota.
    pub hard: BTreeMap<String, String>,
}

/// A LimitRange with one item of type Container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitSettings {
    /// The name of the LimitRange.
    pub name: String,
    /// The default limits of a container that sets none.
    pub default: BTreeMap<String, String>,
    /// The default requests of a container that sets none. A resource that is missing here defaults to its limit
    /// above.
    #[serde(default)]
    pub default_request: BTreeMap<String, String>,
}

fn written_out<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// The schema of a field that is required but may be `null`.
fn or_null<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<Option<T>>()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const READ: [&str; 3] = ["get", "list", "watch"];

pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: strings(&[group]),
        resources: strings(resources),
        verbs: strings(verbs),
        resource_names: Vec::new(),
    }
}

fn quota(hard: &[(&str, &str)]) -> QuotaSettings {
    QuotaSettings { name: "codex-run-quota".to_owned(), hard: map(hard) }
}

impl BaselineSet {
    /// The quota and the limits of platform release A.
    fn at_a(access: Access) -> Self {
        Self {
            access,
            resource_quota: Some(quota(&[
                ("pods", "20"),
                ("requests.cpu", "4"),
                ("requests.memory", "8Gi"),
                ("limits.cpu", "8"),
                ("limits.memory", "16Gi"),
            ])),
            limit_range: Some(LimitSettings {
                name: "codex-run-limits".to_owned(),
                default: map(&[("cpu", "1"), ("memory", "1Gi")]),
                default_request: map(&[("cpu", "250m"), ("memory", "256Mi")]),
            }),
        }
    }
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            full_env: BaselineSet::at_a(Access::Candidate),
            code_only: BaselineSet::at_a(Access::None),
            slot: BaselineSet {
                access: Access::Candidate,
                resource_quota: Some(quota(&[("pods", "20")])),
                limit_range: None,
            },
            candidate: AccessProfile::named(
                "codex-runner",
                vec![
                    rule("", &["pods", "pods/log", "events", "services", "endpoints", "configmaps"], &READ),
                    rule("", &["pods/exec"], &["create"]),
                    rule("apps", &["deployments", "replicasets", "statefulsets", "daemonsets"], &READ),
                    rule("batch", &["jobs"], &READ),
                ],
            ),
            read_only: AccessProfile::named(
                "codex-runner-readonly",
                vec![
                    rule(
                        "",
                        &[
                            "configmaps",
                            "endpoints",
                            "events",
                            "limitranges",
                            "persistentvolumeclaims",
                            "pods",
                            "replicationcontrollers",
                            "resourcequotas",
                            "serviceaccounts",
                            "services",
                        ],
                        &READ,
                    ),
                    rule("", &["pods/log"], &["get"]),
                    rule("events.k8s.io", &["events"], &READ),
                    rule("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"], &READ),
                    rule("batch", &["cronjobs", "jobs"], &READ),
                    rule("autoscaling", &["horizontalpodautoscalers"], &READ),
                    rule("networking.k8s.io", &["ingresses", "networkpolicies"], &READ),
                ],
            ),
        }
    }
}

impl AccessProfile {
    fn named(name: &str, rules: Vec<PolicyRule>) -> Self {
        let name = || name.to_owned();
        Self {
            service_account: name(),
            role: name(),
            role_binding: name(),
            rules,
            annotations: BTreeMap::new(),
            image_pull_secrets: Vec::new(),
        }
    }

    fn check(&self, path: &str) -> Result<(), PolicyError> {
        for key in self.annotations.keys() {
            let field = format!("{path}.annotations[{key}]");
            if keys::in_domain(key) {
                return Err(invalid(&field, format!("found {key:?}; expected a key of another domain")));
            }
            if !is_qualified_name(key) {
                return Err(invalid(&field, format!("found {key:?}; expected the key of an annotation")));
            }
        }
        for (index, name) in self.image_pull_secrets.iter().enumerate() {
            if !is_subdomain(name) {
                let field = format!("{path}.imagePullSecrets[{index}]");
                return Err(invalid(&field, format!("found {name:?}; expected the name of a Secret")));
            }
        }
        Ok(())
    }
}

/// Returns true for the key of a label or an annotation: a name, after a domain and a slash or alone.
fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    domain.is_none_or(is_subdomain)
        && bytes.len() <= 63
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|&byte| is_inner(byte))
}

/// Returns true for a DNS subdomain (RFC 1123), the form of the names of most objects.
pub(super) fn is_subdomain(name: &str) -> bool {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if is_edge(first) && is_edge(last))
            && bytes.iter().all(|&byte| is_edge(byte) || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl Baseline {
    /// The access profile of a kind of access.
    pub const fn profile(&self, access: Access) -> Option<&AccessProfile> {
        match access {
            Access::None => None,
            Access::Candidate => Some(&self.candidate),
            Access::ReadOnly => Some(&self.read_only),
        }
    }

    /// Both access profiles.
    pub(crate) const fn profiles(&self) -> [&AccessProfile; 2] {
        [&self.candidate, &self.read_only]
    }

    /// The baselines of all kinds of namespaces.
    pub(crate) const fn sets(&self) -> [&BaselineSet; 3] {
        [&self.full_env, &self.code_only, &self.slot]
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        for (name, set) in [("fullEnv", &self.full_env), ("codeOnly", &self.code_only), ("slot", &self.slot)]
        {
            set.check(&format!("baseline.{name}"))?;
        }
        self.candidate.check("baseline.candidate")?;
        self.read_only.check("baseline.readOnly")
    }
}

impl BaselineSet {
    fn check(&self, path: &str) -> Result<(), PolicyError> {
        let none = BTreeMap::new();
        let hard = self.resource_quota.as_ref().map_or(&none, |quota| &quota.hard);
        let limits = self.limit_range.as_ref().map_or(&none, |limits| &limits.default);
        let requests = self.limit_range.as_ref().map_or(&none, |limits| &limits.default_request);
        let maps = [
            ("resourceQuota.hard", hard),
            ("limitRange.default", limits),
            ("limitRange.defaultRequest", requests),
        ];
        for (name, map) in maps {
            for (resource, text) in map {
                let field = format!("{path}.{name}[{resource}]");
                let quantity =
                    text.parse::<Quantity>().map_err(|error| invalid(&field, error.to_string()))?;
                if quantity < Quantity::ZERO {
                    return Err(invalid(&field, format!("found {text:?}; expected nothing below zero")));
                }
            }
        }
        for (resource, request) in requests {
            let limit = limits.get(resource).and_then(|text| text.parse::<Quantity>().ok());
            if limit.is_some_and(|limit| request.parse::<Quantity>().is_ok_and(|request| request > limit)) {
                let field = format!("{path}.limitRange.defaultRequest[{resource}]");
                return Err(invalid(&field, format!("found {request:?}, more than limitRange.default")));
            }
        }
        Ok(())
    }
}
