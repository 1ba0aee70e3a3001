//! The environment variables of the platform's worker: read into a policy, their effect is what the worker writes. A
//! value that the policy replaces is warned about once.

use std::collections::BTreeMap;

use codex_k8s_shared::policy::{Profile, RunPolicy};
use codex_k8s_tests::{Answer, Guard, Identity};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, at, baseline, guard, jobs, playground};

/// The variables of a worker at A with another value for each setting.
const VARIABLES: [(&str, &str); 19] = [
    ("CODEXK8S_WORKER_RUN_NAMESPACE_PREFIX", "team-runs"),
    ("CODEXK8S_WORKER_K8S_NAMESPACE", "home"),
    ("CODEXK8S_WORKER_RUN_SERVICE_ACCOUNT", "account"),
    ("CODEXK8S_WORKER_RUN_ROLE_NAME", "role"),
    ("CODEXK8S_WORKER_RUN_ROLE_BINDING_NAME", "binding"),
    ("CODEXK8S_WORKER_RUN_RESOURCE_QUOTA_NAME", "quota"),
    ("CODEXK8S_WORKER_RUN_QUOTA_PODS", "7"),
    ("CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_CPU", "3"),
    ("CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_MEMORY", "5Gi"),
    ("CODEXK8S_WORKER_RUN_QUOTA_LIMITS_CPU", "6"),
    ("CODEXK8S_WORKER_RUN_QUOTA_LIMITS_MEMORY", "9Gi"),
    ("CODEXK8S_WORKER_RUN_LIMIT_RANGE_NAME", "limits"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_CPU", "100m"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_MEMORY", "64Mi"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_CPU", "2"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_MEMORY", "2Gi"),
    ("CODEXK8S_WORKER_JOB_ACTIVE_DEADLINE_SECONDS", "36000"),
    ("CODEXK8S_WORKER_JOB_TTL_SECONDS", "60"),
    ("CODEXK8S_WORKER_JOB_BACKOFF_LIMIT", "2"),
];

const NAMESPACE: &str = "team-runs-a74d653cadf0-i42-r3f2b8c1e9d47";

/// The manifest of the worker with its own values for these variables.
fn manifest(text: &str, edits: &[(&str, Value)]) -> Value {
    let text = text.replace("codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47", NAMESPACE);
    let mut object: Value = serde_saphyr::from_str(&text).unwrap();
    object.as_object_mut().unwrap().remove("status");
    for (path, value) in edits {
        *object.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value.clone();
    }
    object
}

/// The paths and the objects of the worker's baseline.
fn objects() -> [(String, Value); 5] {
    let core = at(NAMESPACE);
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}");
    let hard = json!({"pods": "7", "requests.cpu": "3", "requests.memory": "5Gi", "limits.cpu": "6",
        "limits.memory": "9Gi"});
    let named = |name: &str| ("/metadata/name", json!(name));
    let account = include_str!("../../fixtures/serviceaccount.yaml");
    let role = include_str!("../../fixtures/role.yaml");
    let binding = include_str!("../../fixtures/rolebinding.yaml");
    let quota = include_str!("../../fixtures/resourcequota.yaml");
    let limits = include_str!("../../fixtures/limitrange.yaml");
    [
        (format!("{core}/serviceaccounts"), manifest(account, &[named("account")])),
        (format!("{rbac}/roles"), manifest(role, &[named("role")])),
        (
            format!("{rbac}/rolebindings"),
            manifest(
                binding,
                &[named("binding"), ("/roleRef/name", json!("role")), ("/subjects/0/name", json!("account"))],
            ),
        ),
        (format!("{core}/resourcequotas"), manifest(quota, &[named("quota"), ("/spec/hard", hard)])),
        (
            format!("{core}/limitranges"),
            manifest(
                limits,
                &[
                    named("limits"),
                    ("/spec/limits/0/default", json!({"cpu": "2", "memory": "2Gi"})),
                    ("/spec/limits/0/defaultRequest", json!({"cpu": "100m", "memory": "64Mi"})),
                ],
            ),
        ),
    ]
}

/// Reads an object and puts it back with a field of the worker, as often as another writer was quicker.
fn put_back(client: &Client<'_>, path: &str, field: &str, value: &Value) -> Answer {
    loop {
        let mut whole = client.get(path);
        *whole.pointer_mut(field).unwrap_or_else(|| panic!("no {field} at {path}")) = value.clone();
        let answer = client.send(Method::PUT, path, &whole);
        if answer.code != 409 {
            return answer;
        }
    }
}

#[test]
fn the_policy_of_a_workers_variables_leaves_everything_that_it_writes_unchanged() {
    let variables: BTreeMap<_, _> =
        VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let read = RunPolicy::of_worker(Profile::A, &variables).unwrap();
    assert_eq!(read.warnings.len(), 1, "only a maximum is raised: {:?}", read.warnings);
    let Value::Object(mut sections) = serde_json::to_value(read.policy).unwrap() else { panic!("no object") };
    sections.retain(|key, _| !["apiVersion", "kind"].contains(&key.as_str()));
    let policy: String =
        sections.iter().map(|(key, value)| [key, ": ", &value.to_string(), "\n"].concat()).collect();
    let guard = Guard::start_with_policy(playground(), &policy).unwrap();
    let worker = Client::new(&guard, &Identity::service_account("home", "codex-k8s-worker"));
    let namespace = manifest(include_str!("../../fixtures/namespace.yaml"), &[]);
    let mut warnings = worker.send(Method::POST, "/api/v1/namespaces", &namespace).warnings;
    worker.await_gate(NAMESPACE);
    // The reconciler has written the objects: the worker finds them, and puts them back with its own values.
    for (path, object) in objects() {
        let own = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        let before = worker.get(&own);
        for field in
            ["rules", "roleRef", "subjects", "spec"].iter().filter(|field| !object[**field].is_null())
        {
            assert_eq!(before[*field], object[*field], "{own} {field}");
            let answer = put_back(&worker, &own, &format!("/{field}"), &object[*field]);
            assert!(answer.is_ok(), "{answer:?}");
            warnings.extend(answer.warnings);
        }
    }
    let job = manifest(
        include_str!("../../fixtures/job-full-env.yaml"),
        &[
            ("/spec/activeDeadlineSeconds", json!(36_000)),
            ("/spec/ttlSecondsAfterFinished", json!(60)),
            ("/spec/backoffLimit", json!(2)),
            ("/spec/template/spec/serviceAccountName", json!("account")),
        ],
    );
    let answer = worker.send(Method::POST, &jobs(NAMESPACE), &job);
    warnings.extend(answer.warnings.clone());
    let stored = answer.object().unwrap();
    for field in ["activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit"] {
        assert_eq!(stored["spec"][field], job["spec"][field], "{field}");
    }
    assert_eq!(stored["spec"]["template"]["spec"]["serviceAccountName"], "account");
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_changed_value_of_the_worker_is_warned_about_once_with_the_setting_that_replaces_it() {
    let worker = Client::new(guard(), &Identity::worker());
    let namespace = worker.ready_namespace();
    let [.., (_, quota), _] = baseline(&namespace);
    let warning = |pods: &str| {
        format!(
            "299 - \"BASE001: spec.hard.pods: \\\"{pods}\\\" is replaced by \\\"20\\\", because of \
             baseline.fullEnv.resourceQuota of the policy; there is no further warning about these values\""
        )
    };
    for (pods, warned) in [("20", false), ("40", true), ("40", false), ("50", true), ("50", false)] {
        let answer = put_back(&worker, &quota, "/spec/hard/pods", &json!(pods));
        let expected: Vec<_> = warned.then(|| warning(pods)).into_iter().collect();
        assert_eq!(answer.warnings, expected, "{pods}");
        assert_eq!(answer.object().unwrap()["spec"]["hard"]["pods"], "20", "{pods}");
    }
    let answer = put_back(&worker, &quota, "/spec/hard/pods", &json!("20"));
    assert_eq!(answer.warnings, [""; 0], "nothing is replaced");
    let annotations = &answer.object().unwrap()["metadata"]["annotations"];
    assert_eq!(
        annotations["codex-k8s.dev/replaced-values"], "spec.hard.pods: \"50\"",
        "what was replaced last"
    );
}
