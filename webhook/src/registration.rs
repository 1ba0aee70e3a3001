//! The webhook configurations: the requests for which the API server calls the webhook, and those for which it must
//! not.
//!
//! There are two configurations. The mutating one has `failurePolicy: Ignore`, because the validating one, with `Fail`,
//! denies everything that the mutating one would have fixed. The API server evaluates the match conditions itself, so the loss
//! of every replica stops only run namespaces and what they contain.

mod guard;
mod resources;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_shared::install::{FIELD_MANAGER, PART_OF, WEBHOOK_CONFIGURATION, WEBHOOK_DOMAIN};
use codex_k8s_shared::keys;
use codex_k8s_shared::names::SLOT_DIGITS;
use codex_k8s_shared::policy::RunPolicy;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::rules::requester::KUBELETS;

pub(crate) use resources::Resources;

/// The resources of the group `apps` with a Pod template.
const APPS: [&str; 4] = ["deployments", "statefulsets", "daemonsets", "replicasets"];
/// The API server's default timeout for the webhook, in seconds.
pub(crate) const TIMEOUT_SECONDS: u8 = 3;
/// The documented opt-out of the admissions enforcer of AKS, which otherwise adds terms to each `namespaceSelector`.
const NOT_FOR_THE_ENFORCER: (&str, &str) = ("admissions.enforcer/disabled", "true");

/// The address at which the API server calls the webhook.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A Service, on port 443.
    Service {
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
    },
    /// A URL without a path.
    Url(String),
}

impl Endpoint {
    fn client_config(&self, path: &str, ca: Option<&[u8]>) -> Value {
        let mut config = match self {
            Self::Service { namespace, name } => {
                json!({"service": {"namespace": namespace, "name": name, "path": path, "port": 443}})
            }
            Self::Url(url) => json!({"url": format!("{url}{path}")}),
        };
        if let (Some(ca), Some(config)) = (ca, config.as_object_mut()) {
            config.insert("caBundle".to_owned(), BASE64.encode(ca).into());
        }
        config
    }
}

/// Returns the mutating and the validating configuration.
pub fn configurations(policy: &RunPolicy, endpoint: &Endpoint, ca: Option<&[u8]>) -> (Value, Value) {
    let mutating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata(),
        "webhooks": [
            webhook("namespaces", "Ignore", &endpoint.client_config("/mutate", ca),
                &json!([rule("", &["namespaces"], &["CREATE", "UPDATE"], "Cluster")]),
                &namespace_conditions(policy), None),
            webhook("workloads", "Ignore", &endpoint.client_config("/mutate", ca),
                &workload_rules("CREATE"), &json!([]), Some(managed_selector())),
        ],
    });
    let validating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": metadata(),
        "webhooks": [
            webhook("namespaces", "Fail", &endpoint.client_config("/validate", ca),
                &json!([
                    rule("", &["namespaces"], &["CREATE", "UPDATE", "DELETE"], "Cluster"),
                    rule("", &["namespaces/status", "namespaces/finalize"], &["UPDATE"], "Cluster"),
                ]),
                &namespace_conditions(policy), None),
            webhook("workloads", "Fail", &endpoint.client_config("/validate", ca),
                &workload_rules("CREATE"), &json!([]), Some(managed_selector())),
            // Separate, so that only updates pay for the condition: the API server converts the object to evaluate it.
            webhook("workload-changes", "Fail", &endpoint.client_config("/validate", ca),
                &workload_rules("UPDATE"), &workload_conditions(policy), Some(managed_selector())),
        ],
    });
    let (mut mutating, mut validating) = (mutating, validating);
    extend(&mut mutating, guard::mutating(policy, &endpoint.client_config("/mutate", ca)));
    extend(&mut mutating, vec![workload_changes(policy, &endpoint.client_config("/mutate", ca))]);
    extend(&mut validating, guard::validating(policy, &endpoint.client_config("/validate", ca)));
    for webhook in mutating.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(webhook) = webhook.as_object_mut() {
            webhook.insert("reinvocationPolicy".to_owned(), "IfNeeded".into());
        }
    }
    (mutating, validating)
}

fn extend(configuration: &mut Value, more: Vec<Value>) {
    if let Some(webhooks) = configuration.get_mut("webhooks").and_then(Value::as_array_mut) {
        webhooks.extend(more);
    }
}

fn metadata() -> Value {
    let (opt_out, disabled) = NOT_FOR_THE_ENFORCER;
    json!({"name": WEBHOOK_CONFIGURATION, "labels": {
        opt_out: disabled,
        "app.kubernetes.io/name": "codex-k8s-webhook",
        PART_OF.key: PART_OF.value,
    }})
}

/// The parts of a webhook configuration that an operator sets. The reconciler keeps those that it finds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API server's timeout for the webhook, in seconds.
    pub timeout_seconds: u8,
    /// Labels, in addition to those that the program needs.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Settings {
    /// Changes a configuration accordingly.
    pub fn apply_to(&self, configuration: &mut Value) {
        for webhook in configuration.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(webhook) = webhook.as_object_mut() {
                webhook.insert("timeoutSeconds".to_owned(), self.timeout_seconds.into());
            }
        }
        for (field, entries) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            for (key, value) in entries {
                insert(configuration, field, key, value);
            }
        }
    }
}

/// Adds an entry to the labels or annotations of a configuration.
fn insert(configuration: &mut Value, field: &str, key: &str, value: &str) {
    let metadata = configuration.get_mut("metadata").and_then(Value::as_object_mut);
    let entries = metadata.map(|metadata| metadata.entry(field).or_insert_with(|| json!({})));
    if let Some(entries) = entries.and_then(Value::as_object_mut) {
        entries.insert(key.to_owned(), value.into());
    }
}

fn webhook(
    subject: &str,
    failure_policy: &str,
    client_config: &Value,
    rules: &Value,
    conditions: &Value,
    selector: Option<Value>,
) -> Value {
    let mut webhook = json!({
        "name": format!("{subject}.{WEBHOOK_DOMAIN}"),
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config,
        "failurePolicy": failure_policy,
        "matchConditions": conditions,
        "matchPolicy": "Equivalent",
        "rules": rules,
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
    });
    if let (Some(selector), Some(webhook)) = (selector, webhook.as_object_mut()) {
        webhook.insert("namespaceSelector".to_owned(), selector);
    }
    webhook
}

fn rule(group: &str, resources: &[&str], operations: &[&str], scope: &str) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": operations,
        "resources": resources,
        "scope": scope,
    })
}

/// Never includes DELETE: a webhook that is down would keep a namespace from ending.
fn workload_rules(operation: &str) -> Value {
    let operations = &[operation];
    let mut rules = vec![
        rule("batch", &["jobs", "cronjobs"], operations, "Namespaced"),
        rule("", &["pods", "replicationcontrollers"], operations, "Namespaced"),
        rule("apps", &APPS, operations, "Namespaced"),
    ];
    if operation == "UPDATE" {
        // The status of a Job or a Pod includes its metadata, so labels can be changed there too.
        let pods = ["pods/ephemeralcontainers", "pods/resize", "pods/status"];
        rules.push(rule("", &pods, &["UPDATE"], "Namespaced"));
        rules.push(rule("batch", &["jobs/status", "cronjobs/status"], &["UPDATE"], "Namespaced"));
        // These are in the webhook for updates because the cluster's own controllers write them too.
        rules.push(rule("", &["bindings", "pods/binding"], &["CREATE"], "Namespaced"));
        rules.push(rule("apps", &["controllerrevisions"], &["CREATE", "UPDATE"], "Namespaced"));
    }
    rules.into()
}

/// Selects by label. This is safe because a managed namespace never loses the label: a rule ensures that.
pub(crate) fn managed_selector() -> Value {
    json!({"matchExpressions": [{"key": keys::MANAGED_BY, "operator": "Exists"}]})
}

/// Matches a namespace with a label of the contract, before or after the request, one with a reserved name, and a new
/// one with the name of a slot. The evaluation cannot fail, even if fields are missing: with `Fail`, an error would deny
/// requests that are out of scope. The labels are looked up by key and never iterated over, because the API server
/// evaluates this for every namespace of the cluster, and the cost must not grow with the object. An unknown key of the
/// domain has no effect on a namespace that is not managed, and a managed one has a known key.
fn namespace_conditions(policy: &RunPolicy) -> Value {
    let names = policy.namespaces.prefixes.iter().flat_map(|prefix| {
        ["name", "generateName"].map(|field| {
            format!(
                "(has(o.metadata.{field}) && o.metadata.{field}.startsWith({}))",
                cel(&format!("{prefix}-"))
            )
        })
    });
    let known: Vec<_> = keys::known_labels().map(str::to_owned).collect();
    let labels =
        format!("(has(o.metadata.labels) && {}.exists(k, k in o.metadata.labels))", cel_list(&known));
    let any: Vec<_> = [labels].into_iter().chain(names).collect();
    let claimed = format!("[object, oldObject].exists(o, o != null && ({}))", any.join(" || "));
    let run_namespaces = [claimed].into_iter().chain(creates_slot(policy)).collect::<Vec<_>>().join(" || ");
    json!([
        {
            "name": "run-namespaces",
            "expression": run_namespaces,
        },
        {
            "name": "not-a-termination",
            "expression": format!(
                "!(request.userInfo.username in {} && has(request.subResource) && request.subResource in \
                 ['status', 'finalize'] && oldObject != null && has(oldObject.metadata.deletionTimestamp))",
                cel_list(&policy.identities.namespace_controllers.users)
            ),
        },
    ])
}

/// Returns the expression for a namespace that is created with the whole name of a slot, if there are slots. Names that
/// only begin like one are left alone, because what this matches is refused while no replica answers.
fn creates_slot(policy: &RunPolicy) -> Option<String> {
    // The validation of the policy allows only letters, digits and '-' in a project. None of them is special in an
    // expression.
    let projects = &policy.namespaces.slot_projects;
    let name = format!("^(?:{})-dev-[1-9][0-9]{{0,{}}}$", projects.join("|"), SLOT_DIGITS - 1);
    let expression = format!(
        "(request.operation == 'CREATE' && object != null && has(object.metadata.name) && object.metadata.name.matches({}))",
        cel(&name)
    );
    (!projects.is_empty()).then_some(expression)
}

/// Returns the webhook for workloads that a client changes: an update may leave out what was added at creation, and a Job
/// that is resumed then needs a reservation, while agent Jobs are limited.
fn workload_changes(policy: &RunPolicy, client_config: &Value) -> Value {
    let changes = |field: &str| format!("object.?{field}.orValue({{}}) != oldObject.?{field}.orValue({{}})");
    let conditions = json!([
        {"name": "not-bookkeeping", "expression": not_bookkeeping(policy)},
        {"name": "a-change", "expression": format!("{} || {}", changes("spec"), changes("metadata.?labels"))},
    ]);
    let rules = json!([
        rule("batch", &["jobs", "cronjobs"], &["UPDATE"], "Namespaced"),
        rule("", &["replicationcontrollers"], &["UPDATE"], "Namespaced"),
        rule("apps", &APPS, &["UPDATE"], "Namespaced"),
    ]);
    webhook("workload-changes", "Ignore", client_config, &rules, &conditions, Some(managed_selector()))
}

fn not_bookkeeping(policy: &RunPolicy) -> String {
    format!(
        "!((request.operation == 'UPDATE' || request.kind.kind in ['Binding', 'ControllerRevision']) && \
         request.userInfo.username in {})",
        cel_list(&policy.identities.workload_controllers.users)
    )
}

/// Excludes status updates of the cluster's own controllers on objects that they have created: they must succeed
/// without the webhook.
fn workload_conditions(policy: &RunPolicy) -> Value {
    let same = |field: &str, empty: &str| {
        let of = |object: &str| format!("{object}.?metadata.?{field}.orValue({empty})");
        format!("{} == {}", of("object"), of("oldObject"))
    };
    let phase = |object: &str| format!("{object}.?status.?phase.orValue('')");
    let mut unchanged = vec![
        same("labels", "{}"),
        same("finalizers", "[]"),
        // The platform reads the result of a run from its Job, and the Job's from the phases of its Pods. Kubelets must
        // be able to write them while this webhook is down.
        "request.resource.resource != 'jobs'".to_owned(),
        format!(
            "(request.resource.resource != 'pods' || {} in request.?userInfo.?groups.orValue([]) || {} == {})",
            cel(KUBELETS),
            phase("object"),
            phase("oldObject")
        ),
    ];
    if policy.quotas.agent_jobs_per_project.is_some() {
        // A user who may write a status must not use it to mark a Job as admitted.
        let keys = [keys::JOB_PENDING_REASON, keys::JOB_ADMITTED_AT];
        unchanged.extend(keys.map(|key| same(&format!("annotations[?{}]", cel(key)), "''")));
    }
    let mut not_bookkeeping = not_bookkeeping(policy);
    if policy.quotas.agent_jobs_per_project.is_some() {
        // A Pod that the garbage collector detaches from its Job would run in addition to those that are counted.
        let same_owners = same("ownerReferences", "[]");
        not_bookkeeping = format!("{not_bookkeeping} || (request.kind.kind == 'Pod' && !({same_owners}))");
    }
    json!([
        {"name": "not-bookkeeping", "expression": not_bookkeeping},
        {
            "name": "not-a-mere-status",
            "expression": format!(
                "!(has(request.subResource) && request.subResource == 'status' && {})",
                unchanged.join(" && ")
            ),
        },
    ])
}

/// Returns a CEL string literal.
fn cel(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn cel_list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| cel(item)).collect();
    format!("[{}]", items.join(", "))
}

/// Applies a configuration and returns its kind and name.
///
/// # Errors
/// If the API server refuses it or cannot be reached.
pub async fn apply(client: &Client, configuration: Value) -> anyhow::Result<String> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&configuration);
    let kind = configuration.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind == "MutatingWebhookConfiguration" {
        Api::<MutatingWebhookConfiguration>::all(client.clone())
            .patch(WEBHOOK_CONFIGURATION, &params, &patch)
            .await?;
    } else {
        Api::<ValidatingWebhookConfiguration>::all(client.clone())
            .patch(WEBHOOK_CONFIGURATION, &params, &patch)
            .await?;
    }
    Ok(format!("{kind}/{WEBHOOK_CONFIGURATION}"))
}

/// Deletes the configuration of a kind; `false` if there was none.
///
/// # Errors
/// If the API server refuses it or cannot be reached.
pub async fn delete(client: &Client, kind: &str) -> kube::Result<bool> {
    let params = DeleteParams::default();
    let deleted = if kind == "MutatingWebhookConfiguration" {
        Api::<MutatingWebhookConfiguration>::all(client.clone())
            .delete(WEBHOOK_CONFIGURATION, &params)
            .await
            .map(drop)
    } else {
        Api::<ValidatingWebhookConfiguration>::all(client.clone())
            .delete(WEBHOOK_CONFIGURATION, &params)
            .await
            .map(drop)
    };
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        other => other.map(|()| true),
    }
}

/// Lets cert-manager inject the CA of a Certificate.
pub fn inject_ca_from(configuration: &mut Value, namespace: &str, certificate: &str) {
    let from = format!("{namespace}/{certificate}");
    insert(configuration, "annotations", "cert-manager.io/inject-ca-from", &from);
}

/// Sends a known-bad dry run until the webhook denies it. Returns `false` if that does not happen within `timeout`.
/// Nothing is stored. The request breaks several rules, in case the policy does not enforce one of them.
///
/// # Errors
/// If the API server cannot be reached, or does not allow the creation of namespaces.
pub async fn await_enforcement(
    client: &Client,
    policy: &RunPolicy,
    timeout: Duration,
) -> anyhow::Result<bool> {
    let prefix = policy.namespaces.prefixes.first().map_or("codex-issue", String::as_str);
    let bad: Namespace = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": format!("{prefix}-enforcement-probe"),
            "labels": {
                "codex-k8s.dev/enforcement-probe": "known-bad",
                keys::MANAGED_BY: "enforcement-probe",
                keys::RUNTIME_MODE: "known-bad",
            },
            "annotations": {keys::NAMESPACE_LEASE_TTL: "known-bad", keys::REQUESTED_BY: "nobody"},
        },
    }))?;
    let dry_run = PostParams { dry_run: true, field_manager: None };
    let api = Api::<Namespace>::all(client.clone());
    let refusal = format!("admission webhook \"namespaces.{WEBHOOK_DOMAIN}\" denied the request");
    let begun = Instant::now();
    loop {
        match api.create(&dry_run, &bad).await {
            Err(kube::Error::Api(status)) if status.message.contains(&refusal) => return Ok(true),
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code >= 500 => {}
            Err(error) => return Err(error.into()),
        }
        if begun.elapsed() >= timeout {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_fails_closed_mutation_does_not_and_neither_waits_long() {
        let endpoint = Endpoint::Url("https://127.0.0.1:1".to_owned());
        let (mutating, validating) = configurations(&RunPolicy::default(), &endpoint, Some(b"ca"));
        for (configuration, policy) in [(mutating, "Ignore"), (validating, "Fail")] {
            for webhook in configuration["webhooks"].as_array().unwrap() {
                // The webhook for other bindings ignores failures, because a webhook that is down must not deny requests
                // that are out of scope.
                let others = webhook["name"] == "other-bindings.guard.codex-k8s.dev";
                assert_eq!(webhook["failurePolicy"], if others { "Ignore" } else { policy });
                assert_eq!(webhook["timeoutSeconds"], 3);
                assert_eq!(webhook["matchPolicy"], "Equivalent");
                assert_eq!(webhook["sideEffects"], "None");
                assert_eq!(webhook["clientConfig"]["caBundle"], "Y2E=");
            }
        }
    }

    #[test]
    fn settings_change_every_webhook_and_add_to_labels_and_annotations() {
        let entry = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let settings = Settings {
            timeout_seconds: 5,
            labels: entry("admissions.enforcer/disabled", "false"),
            annotations: entry("a", "b"),
        };
        let endpoint = Endpoint::Url("https://127.0.0.1:1".to_owned());
        let (mut configuration, _) = configurations(&RunPolicy::default(), &endpoint, None);
        assert_eq!(configuration["metadata"]["labels"]["admissions.enforcer/disabled"], "true");
        inject_ca_from(&mut configuration, "guard", "hook");
        settings.apply_to(&mut configuration);
        let metadata = &configuration["metadata"];
        assert_eq!(
            metadata["annotations"],
            json!({"cert-manager.io/inject-ca-from": "guard/hook", "a": "b"})
        );
        assert_eq!(metadata["labels"]["admissions.enforcer/disabled"], "false");
        assert_eq!(metadata["labels"][PART_OF.key], PART_OF.value);
        assert!(configuration["webhooks"].as_array().unwrap().iter().all(|one| one["timeoutSeconds"] == 5));
    }

    #[test]
    fn the_labels_of_a_namespace_are_looked_up_and_never_iterated_over() {
        let conditions = namespace_conditions(&RunPolicy::default());
        let expression = conditions[0]["expression"].as_str().unwrap();
        assert!(!expression.contains("labels.exists") && !expression.contains("labels.all"), "{expression}");
        for key in keys::known_labels() {
            assert!(expression.contains(&cel(key)), "{key}: {expression}");
        }
        assert!(expression.contains("matches('^(?:codex-k8s)-dev-[1-9][0-9]{0,8}$')"), "{expression}");
        let mut policy = RunPolicy::default();
        policy.namespaces.slot_projects.clear();
        assert!(!namespace_conditions(&policy).to_string().contains("matches"));
    }

    #[test]
    fn no_deletion_of_a_workload_is_registered() {
        let endpoint = Endpoint::Service { namespace: "guard".to_owned(), name: "hook".to_owned() };
        let (_, validating) = configurations(&RunPolicy::default(), &endpoint, None);
        let webhooks = validating["webhooks"].as_array().unwrap();
        let of_contents = |webhook: &&Value| webhook["name"].as_str().unwrap().starts_with("workload");
        let rules: Vec<_> =
            webhooks.iter().filter(of_contents).map(|webhook| webhook["rules"].to_string()).collect();
        assert_eq!(rules.len(), 2, "creations and changes");
        assert!(rules.iter().all(|rules| !rules.contains("DELETE")), "{rules:?}");
    }

    #[test]
    fn the_published_registration_is_the_one_of_the_code() {
        let published = include_str!("../../deploy/base/webhook-configurations.yaml");
        let endpoint = Endpoint::Service {
            namespace: "codex-k8s-guard".to_owned(),
            name: "codex-k8s-webhook".to_owned(),
        };
        let (mutating, validating) = configurations(&RunPolicy::default(), &endpoint, None);
        let documents = [mutating, validating].map(|value| serde_saphyr::to_string(&value).unwrap());
        assert!(published == documents.join("---\n"), "deploy/base is out of date: run `make generate`");
    }
}
