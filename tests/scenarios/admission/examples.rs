//! The examples of the rules, sent to a real API server: it must answer as the unit tests of the rules do.
//!
//! Each is a dry run of a creation. Updates need objects that most users cannot create; their scenarios are elsewhere.

use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use codex_k8s_webhook::rules::Operation;
use codex_k8s_webhook::rules::catalogue;
use codex_k8s_webhook::rules::example::{Example, Object, Outcome, Setting, User};
use serde_json::{Value, json};

use crate::harness::*;

/// Examples that this API server decides by itself, and why: the rule and the start of the example's name.
const NOT_OURS: [(&str, &str, &str); 6] = [
    ("BASE001", "the platform writes its own quota", "the baseline has the object already"),
    (
        "JOB004",
        "a controller creates a Pod",
        "a plug-in of the API server looks for the ServiceAccount first",
    ),
    ("JOB013", "a person creates a Pod, to which", "there is no such class, and the request has the field"),
    ("JOB013", "a person creates a Pod with a priority", "there is no such class"),
    (
        "JOB016",
        "a person creates a Pod, to which",
        "the request has the field, and managedFields then list it",
    ),
    ("JOB024", "a Pod has more than a hundred", "the API server denies containers of the same name first"),
];

/// The namespaces of the examples.
struct Namespaces {
    full_env: String,
    code_only: String,
    slot: String,
    restricted: String,
    unmanaged: String,
}

impl Namespaces {
    fn create() -> Self {
        let created = Self {
            full_env: managed(),
            code_only: code_only(),
            slot: slot(),
            restricted: at_level("restricted"),
            unmanaged: unmanaged(),
        };
        for namespace in [&created.full_env, &created.code_only, &created.slot, &created.restricted] {
            await_default_account(namespace);
        }
        created
    }

    /// The namespace of an example; `None` if a cluster cannot easily be brought into its state.
    fn of(&self, setting: Setting) -> Option<&str> {
        match setting {
            Setting::FullEnv => Some(&self.full_env),
            Setting::CodeOnly => Some(&self.code_only),
            Setting::Slot => Some(&self.slot),
            Setting::Restricted => Some(&self.restricted),
            Setting::Unmanaged => Some(&self.unmanaged),
            Setting::NotReady | Setting::Terminating | Setting::RunIdInUse | Setting::LimitReached => None,
        }
    }
}

/// Waits for the default ServiceAccount, because without it the API server admits no Pod.
fn await_default_account(namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    eventually("the default ServiceAccount", Duration::from_secs(30), || {
        let identity = &Identity::Admin;
        let send = Send { identity, method: "GET", path: path.clone(), content_type: JSON };
        (send.body(&Value::Null).code == 200).then_some(())
    })
    .unwrap();
}

/// Strings in the examples that stand for names of this cluster, and those names.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn within(namespaces: &Namespaces, setting: Setting, is_namespace: bool) -> Self {
        let slot = if is_namespace { slot_name() } else { namespaces.slot.clone() };
        let home = namespaces.of(setting).unwrap_or_default();
        let stored = read_namespace(home);
        // A new namespace must not carry the run id of another.
        let run_id = if is_namespace { unique() } else { label(&stored, "run-id").to_owned() };
        Self(vec![
            ("codex-issue-7", namespaces.full_env.clone()),
            ("codex-k8s-dev-1", slot),
            ("codex-k8s-run-r1", format!("codex-k8s-run-{run_id}")),
            ("r1", run_id),
            ("p1", label(&stored, "project-id").to_owned()),
        ])
    }

    /// The value with the names of this cluster.
    fn put_into(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some((_, name)) = self.0.iter().find(|(example, _)| example == text) {
                    text.clone_from(name);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.put_into(value)),
            Value::Object(values) => values.values_mut().for_each(|value| self.put_into(value)),
            _ => {}
        }
    }
}

fn identity(user: User, namespace: &str) -> Identity {
    match user {
        User::Person => Identity::developer(),
        User::Worker => Identity::worker(),
        User::Agent => Identity::agent(namespace),
        User::Reconciler => Identity::reconciler(),
        User::Collector => Identity::collector(),
        User::JobController => Identity::service_account("kube-system", "job-controller"),
        User::QuotaController => Identity::service_account("kube-system", "resourcequota-controller"),
        User::Kubelet => Identity::kubelet(),
    }
}

/// The path of the collection that an object is created in.
fn collection(object: Object, namespace: &str) -> String {
    let core = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
    let of = |group: &str, plural: &str| format!("/apis/{group}/v1/namespaces/{namespace}/{plural}");
    match object {
        Object::NewNamespace | Object::RunNamespace | Object::BareSlot | Object::OtherNamespace => {
            "/api/v1/namespaces".to_owned()
        }
        Object::Job | Object::HardenedJob => of("batch", "jobs"),
        Object::CronJob => of("batch", "cronjobs"),
        Object::Pod => core("pods"),
        Object::Deployment => of("apps", "deployments"),
        Object::Binding => core("bindings"),
        Object::ServiceAccount => core("serviceaccounts"),
        Object::Role => of("rbac.authorization.k8s.io", "roles"),
        Object::RoleBinding => of("rbac.authorization.k8s.io", "rolebindings"),
        Object::ClusterRole => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        Object::ClusterRoleBinding => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        Object::ResourceQuota => core("resourcequotas"),
        Object::LimitRange => core("limitranges"),
        Object::Secret => core("secrets"),
        Object::TokenRequest => core("serviceaccounts/codex-runner/token"),
    }
}

/// Returns true if a dry run of a creation in the shared cluster can show an example: its policy has the defaults, and
/// its clock is a real one.
fn is_shown(rule: &str, example: &Example) -> bool {
    let is_ours = !NOT_OURS.iter().any(|(id, name, _)| *id == rule && example.name.starts_with(name));
    let names_a_time = match example.outcome {
        Outcome::Mutated(fields) => fields.iter().any(|(_, value)| value.contains("2026-")),
        _ => example.change.contains("2026-"),
    };
    let creates = example.operation == Operation::Create && example.subresource.is_none();
    is_ours && creates && !names_a_time && example.policy.is_empty()
}

/// Sends an example, and returns the difference between the answer and the expected one.
fn differs(rule: &str, example: &Example, namespaces: &Namespaces) -> Option<String> {
    let namespace = namespaces.of(example.setting)?;
    let mut object = example.object()?;
    let names = Names::within(namespaces, example.setting, object["kind"] == "Namespace");
    names.put_into(&mut object);
    let path = format!("{}?dryRun=All", collection(example.base, namespace));
    let answer = create(&identity(example.user, namespace), &path, &object);
    let is_right = match example.outcome {
        Outcome::Denied(path) => names_cause(&answer, rule, path),
        Outcome::Admitted | Outcome::Warned(_) => answer.code < 300,
        Outcome::Mutated(fields) => answer.code < 300 && has(&answer.body, fields, &names),
    };
    let expected = example.outcome;
    (!is_right).then(|| {
        format!("\n{rule} {:?}: expected {expected:?}, got {} {}", example.name, answer.code, answer.body)
    })
}

fn names_cause(answer: &Answer, rule: &str, path: &str) -> bool {
    let causes = answer.body.pointer("/details/causes").and_then(Value::as_array);
    let is_named = |cause: &Value| cause["reason"] == rule && cause["field"] == path;
    answer.code >= 400 && causes.is_some_and(|causes| causes.iter().any(is_named))
}

fn has(stored: &Value, fields: &[(&str, &str)], names: &Names) -> bool {
    fields.iter().all(|(pointer, yaml)| {
        let mut expected: Value = serde_saphyr::from_str(yaml).unwrap();
        names.put_into(&mut expected);
        stored.pointer(pointer).unwrap_or(&json!(null)) == &expected
    })
}

#[test]
fn the_api_server_answers_the_examples_of_the_rules_as_they_say() {
    let namespaces = Namespaces::create();
    let examples = catalogue::all()
        .flat_map(|rule| rule.examples.iter().map(move |example| (rule.id, example)))
        .filter(|(rule, example)| is_shown(rule, example));
    let mut shown = 0;
    let wrong: String = examples
        .inspect(|_| shown += 1)
        .filter_map(|(rule, example)| differs(rule, example, &namespaces))
        .collect();
    assert_eq!(wrong, "");
    assert!(shown > 100, "only {shown} examples are shown");
}

#[test]
fn every_exception_names_an_example() {
    for (rule, name, why) in NOT_OURS {
        let found = catalogue::find(rule).unwrap();
        let named = found.examples.iter().filter(|example| example.name.starts_with(name));
        assert_eq!(named.count(), 1, "{rule} {name}: {why}");
    }
}
