//! The sections of a [`RunPolicy`](super::RunPolicy) and their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyError, invalid};
use crate::keys;

/// The effect of a violation.
// The strictest mode comes first, so that modes can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The request is denied.
    Enforce,
    /// The request is admitted with a warning.
    Warn,
    /// The request is admitted; the violation is recorded as an audit annotation and in a metric.
    Audit,
    /// The rule is not evaluated, and does not mutate objects.
    Off,
}

/// Rule ids, and the modes that override their defaults.
pub(crate) type Rules = BTreeMap<String, Mode>;

/// Users and groups, by their exact names as the API server authenticates them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Subjects {
    /// User names. The user name of a ServiceAccount is `system:serviceaccount:<namespace>:<name>`.
    pub users: Vec<String>,
    /// Group names. Groups such as `system:serviceaccounts` include every agent: list them with care.
    pub groups: Vec<String>,
}

impl Subjects {
    fn users(users: &[&str]) -> Self {
        Self { users: strings(users), groups: Vec::new() }
    }

    /// Returns true if the user, or one of its groups, is listed. Names are compared byte for byte.
    pub fn contains<'g>(&self, user: &str, groups: impl IntoIterator<Item = &'g str>) -> bool {
        self.users.iter().any(|listed| listed == user)
            || (!self.groups.is_empty()
                && groups.into_iter().any(|group| self.groups.iter().any(|listed| listed == group)))
    }
}

/// The users and groups of the platform's programs and of the cluster's controllers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Identities {
    /// The platform's worker and control plane. They rebind, shorten and delete run namespaces.
    pub managers: Subjects,
    /// The garbage collector. It deletes run namespaces.
    pub garbage_collectors: Subjects,
    /// The baseline reconciler. Only it may mark a baseline as ready.
    pub reconcilers: Subjects,
    /// The cluster's namespace controller, which empties and finalizes terminating namespaces.
    pub namespace_controllers: Subjects,
    /// The cluster's controllers that create Pods and Jobs from templates. The templates were evaluated when they
    /// were written.
    pub workload_controllers: Subjects,
    /// The cluster's programs that count the usage of a ResourceQuota. Only they may write its status.
    pub quota_controllers: Subjects,
    /// Names of `ServiceAccounts` in slots that belong to the platform's candidate copies, not to agents.
    pub candidate_service_accounts: Vec<String>,
    /// Users and groups for whom every rule only warns. Empty by default: the usual way to break the glass is to
    /// delete the webhook configurations, which no webhook can prevent.
    pub break_glass: Subjects,
}

impl Identities {
    /// Returns true if the user is listed by name as one of the platform's programs or the cluster's controllers.
    pub fn is_listed(&self, user: &str) -> bool {
        [
            &self.managers,
            &self.garbage_collectors,
            &self.reconcilers,
            &self.namespace_controllers,
            &self.workload_controllers,
        ]
        .into_iter()
        .any(|subjects| subjects.users.iter().any(|listed| listed == user))
    }
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            managers: Subjects::users(&[
                "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker",
                "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-control-plane",
                "system:serviceaccount:codex-k8s-prod:codex-k8s-worker",
                "system:serviceaccount:codex-k8s-prod:codex-k8s-control-plane",
            ]),
            garbage_collectors: Subjects::users(&["system:serviceaccount:codex-k8s-guard:codex-k8s-gc"]),
            reconcilers: Subjects::users(&["system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile"]),
            namespace_controllers: Subjects::users(&[
                "system:serviceaccount:kube-system:namespace-controller",
                "system:kube-controller-manager",
            ]),
            workload_controllers: Subjects::users(&[
                "system:serviceaccount:kube-system:job-controller",
                "system:serviceaccount:kube-system:cronjob-controller",
                "system:serviceaccount:kube-system:replicaset-controller",
                "system:serviceaccount:kube-system:deployment-controller",
                "system:serviceaccount:kube-system:statefulset-controller",
                "system:serviceaccount:kube-system:daemon-set-controller",
                "system:serviceaccount:kube-system:replication-controller",
                "system:serviceaccount:kube-system:generic-garbage-collector",
                "system:serviceaccount:kube-system:ttl-after-finished-controller",
                "system:serviceaccount:kube-system:pod-garbage-collector",
                "system:kube-controller-manager",
                "system:kube-scheduler",
            ]),
            quota_controllers: Subjects::users(&[
                "system:serviceaccount:kube-system:resourcequota-controller",
                "system:kube-controller-manager",
                "system:apiserver",
            ]),
            candidate_service_accounts: strings(&["codex-k8s-worker", "codex-k8s-control-plane"]),
            break_glass: Subjects::default(),
        }
    }
}

/// The users that may create run namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Creation {
    /// Every user that RBAC allows to create namespaces.
    #[default]
    Anyone,
    /// Only the managers.
    Managers,
}

/// The names of run namespaces, and the namespaces that can never be managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Namespaces {
    /// Prefixes of run namespaces. A namespace whose name is a prefix, a `-` and a rest is a run namespace from its
    /// creation, even without labels.
    pub prefixes: Vec<String>,
    /// The projects that have slots: namespaces of the name `<project>-dev-<n>` that are created without labels, and
    /// labeled later by a manager for each run. If empty, there are no slots. A name of this form with another
    /// project is not the name of a run namespace.
    pub slot_projects: Vec<String>,
    /// The platform's own namespaces. They are never managed, and their workloads are not changed.
    pub platform: Vec<String>,
    /// Namespaces that can never become run namespaces, regardless of the user.
    pub protected: Vec<String>,
    /// The users that may create run namespaces.
    pub creation: Creation,
    /// The allowed values of `metadata.finalizers` of a run namespace.
    pub allowed_finalizers: Vec<String>,
    /// The kinds that may own a run namespace, as `apiVersion/kind`.
    pub allowed_owners: Vec<String>,
    /// The keys of labels and annotations that a run namespace may have although they give the namespace or its Pods
    /// privileges. Supported values: `resource.kubernetes.io/admin-access`,
    /// `scheduler.alpha.kubernetes.io/node-selector`, `scheduler.alpha.kubernetes.io/defaultTolerations` and
    /// `scheduler.alpha.kubernetes.io/tolerationsWhitelist`.
    pub allowed_privileges: Vec<String>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            prefixes: strings(&["codex-issue", "codex-run"]),
            slot_projects: strings(&["codex-k8s"]),
            platform: strings(&["codex-k8s-ai-staging", "codex-k8s-prod"]),
            protected: strings(&[
                "default",
                "kube-system",
                "kube-public",
                "kube-node-lease",
                "codex-k8s-system",
                "codex-k8s-guard",
            ]),
            creation: Creation::Anyone,
            allowed_finalizers: Vec::new(),
            allowed_owners: Vec::new(),
            allowed_privileges: Vec::new(),
        }
    }
}

impl Namespaces {
    /// Returns true if the namespace can never be managed: it is protected by name, or a platform namespace.
    pub fn is_protected(&self, name: &str) -> bool {
        self.protected.iter().chain(&self.platform).any(|listed| listed == name)
    }

    /// Returns true for the name of a slot of one of the projects that have slots. A name under a reserved prefix is
    /// never a slot, because a user could choose `codex-issue-x-dev-1` to get the looser rules of a slot.
    pub fn is_slot(&self, name: &str) -> bool {
        crate::names::slot_namespace(name)
            .is_some_and(|slot| self.slot_projects.iter().any(|project| project == slot.project))
            && crate::names::reserved_prefix(name, &self.prefixes).is_none()
    }

    /// Returns true for the names of run namespaces: those under a reserved prefix, and those of slots.
    pub fn is_of_a_run(&self, name: &str) -> bool {
        crate::names::reserved_prefix(name, &self.prefixes).is_some() || self.is_slot(name)
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        for (index, prefix) in self.prefixes.iter().enumerate() {
            let field = format!("namespaces.prefixes[{index}]");
            if !is_dns_label(prefix) {
                let problem = format!(
                    "found {prefix:?}; expected lower-case letters, digits and '-', 50 characters at most, such as codex-issue"
                );
                return Err(invalid(&field, problem));
            }
            let boundary = format!("{prefix}-");
            if let Some(name) =
                self.protected.iter().chain(&self.platform).find(|name| name.starts_with(&boundary))
            {
                let problem = format!("{prefix:?} would also claim the protected namespace {name:?}");
                return Err(invalid(&field, problem));
            }
        }
        for (index, project) in self.slot_projects.iter().enumerate() {
            if !is_dns_label(project) {
                let problem = format!(
                    "found {project:?}; expected lower-case letters, digits and '-', 50 characters at most, such as codex-k8s"
                );
                return Err(invalid(&format!("namespaces.slotProjects[{index}]"), problem));
            }
        }
        for (index, key) in self.allowed_privileges.iter().enumerate() {
            if !keys::PRIVILEGES.iter().any(|privilege| privilege.key == key) {
                let known: Vec<_> = keys::PRIVILEGES.iter().map(|privilege| privilege.key).collect();
                let problem = format!("found {key:?}; supported values: {}", known.join(", "));
                return Err(invalid(&format!("namespaces.allowedPrivileges[{index}]"), problem));
            }
        }
        Ok(())
    }
}

/// The lifetime of run namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeasePolicy {
    /// The time to live of namespaces whose role is not in `ttlByRole`.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub default_ttl: Duration,
    /// The time to live by agent role, the value of the label `codex-k8s.dev/agent-key`.
    #[serde(with = "go_duration_map")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub ttl_by_role: BTreeMap<String, Duration>,
    /// The minimum time to live.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub min_ttl: Duration,
    /// The maximum time to live. It is also the latest expiry, counted from now.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_ttl: Duration,
    /// The maximum difference between `expires-at` and the sum of `updated-at` and the time to live, and between the
    /// clocks of a client and the webhook.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub tolerance: Duration,
    /// The time after its creation during which users other than managers can extend a namespace.
    #[serde(with = "go_duration")]
    #[schemars(with = "String")]
    pub max_lifetime: Duration,
}

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

impl Default for LeasePolicy {
    fn default() -> Self {
        Self {
            default_ttl: HOUR * 24,
            ttl_by_role: BTreeMap::new(),
            min_ttl: MINUTE * 5,
            max_ttl: HOUR * 24 * 7,
            tolerance: MINUTE * 5,
            max_lifetime: HOUR * 24 * 30,
        }
    }
}

impl LeasePolicy {
    /// The time to live for an agent's role, or the default.
    pub fn ttl_for(&self, agent_key: Option<&str>) -> Duration {
        agent_key.and_then(|key| self.ttl_by_role.get(key)).copied().unwrap_or(self.default_ttl)
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.min_ttl > self.max_ttl {
            return Err(invalid("lease.minTtl", "is longer than lease.maxTtl"));
        }
        let roles = self.ttl_by_role.iter().map(|(role, ttl)| (format!("lease.ttlByRole.{role}"), *ttl));
        let all = roles.chain([("lease.defaultTtl".to_owned(), self.default_ttl)]);
        for (field, ttl) in all {
            if ttl < self.min_ttl || ttl > self.max_ttl {
                return Err(invalid(&field, "lies outside lease.minTtl and lease.maxTtl"));
            }
        }
        Ok(())
    }
}

/// A Pod Security level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No restrictions.
    Privileged,
    /// Known privilege escalations are denied.
    Baseline,
    /// Pod hardening is required.
    Restricted,
}

impl Level {
    /// The value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    /// Parses the value of the label.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted].into_iter().find(|level| level.as_str() == value)
    }
}

/// The `enforce` and `audit` level of a kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityLevels {
    /// The level that Pods must meet to be admitted.
    pub enforce: Level,
    /// The level whose violations the API server records in its audit log. They cause no warnings.
    pub audit: Level,
}

/// The Pod Security levels that run namespaces get when they are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodSecurity {
    /// The levels of run namespaces other than slots. `restricted` would deny the platform's Jobs, because they have
    /// no securityContext.
    pub run: SecurityLevels,
    /// The levels of slots, which also hold the platform's own stack and its image builds on the host network.
    pub slot: SecurityLevels,
}

impl Default for PodSecurity {
    fn default() -> Self {
        Self {
            run: SecurityLevels { enforce: Level::Baseline, audit: Level::Restricted },
            slot: SecurityLevels { enforce: Level::Privileged, audit: Level::Baseline },
        }
    }
}

/// The default and the maximum of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// The value that is set if the field is absent.
    pub default: i64,
    /// The maximum value.
    pub max: i64,
}

/// The maximum of a number. It has no default, because the API server sets its own before any webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Maximum {
    /// The maximum value.
    pub max: i64,
}

/// The `ServiceAccounts` that workloads may run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceAccounts {
    /// The `ServiceAccounts` in `full-env` namespaces. The first is the default for workloads that set none.
    pub full_env: Vec<String>,
    /// The `ServiceAccounts` in `code-only` namespaces, where workloads have no Kubernetes token.
    pub code_only: Vec<String>,
}

impl Default for ServiceAccounts {
    fn default() -> Self {
        Self {
            full_env: strings(&["codex-runner", "codex-runner-readonly", "default"]),
            code_only: strings(&["default"]),
        }
    }
}

/// A toleration that workloads may have. Both key and effect must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// The key of the taint.
    pub key: String,
    /// The effect of the taint.
    pub effect: String,
}

/// The limits of Jobs, `CronJobs` and Pods in run namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Jobs {
    /// The `ServiceAccounts` that workloads may run as.
    pub service_accounts: ServiceAccounts,
    /// The bounds of `spec.activeDeadlineSeconds` of a Job.
    pub active_deadline_seconds: Bounds,
    /// The bounds of `spec.ttlSecondsAfterFinished` of a Job with a generated name, and of the Jobs of a `CronJob`. A
    /// Job with a name of its own may have any, or none.
    pub ttl_seconds_after_finished: Bounds,
    /// The bounds of `spec.backoffLimit` of a Job. The default also replaces 6, which the API server writes into a Job
    /// without the field before any webhook receives the Job.
    pub backoff_limit: Bounds,
    /// The maximum of `spec.parallelism` of a Job.
    pub parallelism: Maximum,
    /// The maximum of `spec.completions` of a Job.
    pub completions: Maximum,
    /// The allowed values of `spec.managedBy` of a Job.
    pub managed_by: Vec<String>,
    /// The allowed scheduler names. The first is the default for workloads that set none, unless `default-scheduler`,
    /// which the API server writes into them, is listed too.
    pub schedulers: Vec<String>,
    /// The allowed priority classes. None by default.
    pub priority_classes: Vec<String>,
    /// The allowed runtime classes. None by default.
    pub runtime_classes: Vec<String>,
    /// The allowed types of volumes, by the name of their field in a Pod's volume. The default is the types that Pod
    /// Security's `restricted` allows. `projected` must be among them, because the API server adds such a volume to
    /// Pods.
    pub volumes: Vec<String>,
    /// The allowed tolerations. The default is those that the plug-ins of the API server add to Pods. A Pod may also
    /// tolerate taints that have the name of an extended resource which it requests.
    pub tolerations: Vec<Toleration>,
    /// The allowed values of `metadata.finalizers` of workloads and their templates.
    pub finalizers: Vec<String>,
    /// Names of environment variables that must not have literal values, because these are secrets.
    pub secret_env: Vec<String>,
}

impl Default for Jobs {
    fn default() -> Self {
        let toleration =
            |key: &str, effect: &str| Toleration { key: key.to_owned(), effect: effect.to_owned() };
        Self {
            service_accounts: ServiceAccounts::default(),
            active_deadline_seconds: Bounds { default: 900, max: 18_000 },
            ttl_seconds_after_finished: Bounds { default: 600, max: 86_400 },
            backoff_limit: Bounds { default: 0, max: 6 },
            parallelism: Maximum { max: 4 },
            completions: Maximum { max: 16 },
            managed_by: strings(&["kubernetes.io/job-controller"]),
            schedulers: strings(&["default-scheduler"]),
            priority_classes: Vec::new(),
            runtime_classes: Vec::new(),
            volumes: strings(&[
                "configMap",
                "csi",
                "downwardAPI",
                "emptyDir",
                "ephemeral",
                "image",
                "persistentVolumeClaim",
                "projected",
                "secret",
            ]),
            tolerations: vec![
                toleration("node.kubernetes.io/not-ready", "NoExecute"),
                toleration("node.kubernetes.io/unreachable", "NoExecute"),
                toleration("node.kubernetes.io/memory-pressure", "NoSchedule"),
            ],
            finalizers: strings(&["batch.kubernetes.io/job-tracking", "foregroundDeletion", "orphan"]),
            secret_env: strings(&[
                "CODEXK8S_MCP_BEARER_TOKEN",
                "CODEXK8S_OPENAI_API_KEY",
                "CODEXK8S_CONTEXT7_API_KEY",
                "CODEXK8S_GIT_BOT_TOKEN",
            ]),
        }
    }
}

impl Jobs {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let bounds = [
            ("jobs.activeDeadlineSeconds", self.active_deadline_seconds, 1),
            ("jobs.ttlSecondsAfterFinished", self.ttl_seconds_after_finished, 0),
            ("jobs.backoffLimit", self.backoff_limit, 0),
        ];
        for (field, Bounds { default, max }, least) in bounds {
            if default < least || default > max {
                let problem = format!("default {default} lies outside {least} and max {max}");
                return Err(invalid(field, problem));
            }
        }
        // The API server writes 1 into a Job that has neither.
        for (field, Maximum { max }) in
            [("jobs.parallelism.max", self.parallelism), ("jobs.completions.max", self.completions)]
        {
            if max < 1 {
                return Err(invalid(field, format!("found {max}; expected 1 or more")));
            }
        }
        if !self.volumes.iter().any(|name| name == "projected") {
            let problem = "lacks \"projected\"; the API server adds a volume of this type to Pods";
            return Err(invalid("jobs.volumes", problem));
        }
        if self.service_accounts.full_env.is_empty() {
            return Err(invalid("jobs.serviceAccounts.fullEnv", "is empty; name at least one, the default"));
        }
        Ok(())
    }
}

pub(super) fn is_dns_label(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if edge(first) && edge(last))
        && bytes.len() <= 50
        && bytes.iter().all(|&byte| edge(byte) || byte == b'-')
}

pub(super) fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

/// Durations in the form that the platform writes: `24h0m0s`.
pub(super) mod go_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::lease::GoDuration;

    pub(in crate::policy) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&GoDuration::from(*duration))
    }

    pub(in crate::policy) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<GoDuration>().map(Duration::from).map_err(D::Error::custom)
    }
}

/// A [`go_duration`] that may be absent.
pub(super) mod go_duration_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::lease::GoDuration;

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(in crate::policy) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.collect_str(&GoDuration::from(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::policy) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse::<GoDuration>().map(Duration::from).map_err(D::Error::custom)).transpose()
    }
}

/// A map of [`go_duration`] values.
mod go_duration_map {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::lease::GoDuration;

    type Map = BTreeMap<String, Duration>;

    pub(super) fn serialize<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(key, ttl)| (key, GoDuration::from(*ttl).to_string())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, text)| Ok((key, text.parse::<GoDuration>().map_err(D::Error::custom)?.into())))
            .collect()
    }
}
