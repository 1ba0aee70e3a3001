//! Tests of records: they contain no secrets, and a replay gives the same decision.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_webhook::check::Verdict;
use codex_k8s_webhook::decision::{EvaluatedReview, PolicyInForce};
use codex_k8s_webhook::engine::{self, Engine};
use codex_k8s_webhook::metrics::Metrics;
use codex_k8s_webhook::record::folder::{self, Bounds};
use codex_k8s_webhook::record::recorder::{Recorder, What};
use codex_k8s_webhook::record::replay::{self, Stored};
use codex_k8s_webhook::record::{Record, Snapshot};
use codex_k8s_webhook::review::{self, Entry};
use codex_k8s_webhook::rules::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use support::{
    NAMESPACE, OneNamespace, RUN_ID, any_json, benign_namespace, benign_workload, facts, modes, policies,
    users,
};

const ROOMY: Bounds = Bounds { files: 100, bytes: 1 << 20 };

/// Returns the group and name of a kind.
fn named(kind: Kind) -> (&'static str, &'static str) {
    let known = [
        ("", "Namespace"),
        ("batch", "Job"),
        ("batch", "CronJob"),
        ("", "Pod"),
        ("apps", "Deployment"),
        ("apps", "ControllerRevision"),
        ("", "Binding"),
        ("", "ServiceAccount"),
        ("", "ResourceQuota"),
        ("", "LimitRange"),
        ("", "Secret"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("authentication.k8s.io", "TokenRequest"),
    ];
    known.into_iter().find(|(group, name)| Kind::of(group, name) == Some(kind)).unwrap()
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![support::kinds(), Just(Kind::Revision), Just(Kind::Binding)]
}

fn request(uid: &str, user: &str, kind: Kind, object: &Value, old: &Value) -> Value {
    let operation = match (object, old) {
        (Value::Null, _) => "DELETE",
        (_, Value::Null) => "CREATE",
        _ => "UPDATE",
    };
    let (group, name) = named(kind);
    json!({"apiVersion": review::API_VERSION, "kind": review::KIND, "request": {
        "uid": uid, "kind": {"group": group, "version": "v1", "kind": name}, "namespace": NAMESPACE,
        "operation": operation, "userInfo": {"username": user}, "object": object, "oldObject": old,
    }})
}

/// Decides, records, parses the record and replays it: the results must be equal.
fn is_decided_the_same_once_more(
    body: &Value,
    kind: Kind,
    mode: RuntimeMode,
    entry: Entry,
    policy: RunPolicy,
) -> Result<Record, TestCaseError> {
    let body = serde_json::to_vec(body).unwrap();
    let Ok(review) = review::parse(&body) else { return Err(TestCaseError::reject("no review")) };
    let request = engine::request(kind, &review).unwrap();
    let (facts, policy) = (facts(mode), Arc::new(PolicyInForce::from(policy)));
    let verdict = engine::decide(&policy.policy, &facts, &request, entry, review.is_dry_run());
    let outcome = engine::outcome(&verdict, &policy.policy, &policy.hash);
    let evaluated = EvaluatedReview { request, facts, policy: Arc::clone(&policy), verdict };
    let record = Snapshot::new(entry, &review, evaluated, &outcome).into_record();
    let Stored::Record(read) = Stored::read(serde_json::to_vec(&record).unwrap()).unwrap() else {
        return Err(TestCaseError::fail("it was read as something else"));
    };
    prop_assert_eq!(&*read, &record);
    let replayed = replay::record(&read, policy).unwrap();
    prop_assert_eq!(&replayed.verdict, &record.verdict, "of {}", record.review);
    Ok(record)
}

fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![Just(Entry::Mutate), Just(Entry::Validate)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_is_decided_the_same_once_more(
        object in any_json(), old in any_json(), kind in kinds(), mode in modes(), user in users(),
        policy in policies(), entry in entries(), dry_run in any::<bool>(),
        subresource in prop::sample::select(vec!["", "status", "finalize", "ephemeralcontainers"]),
    ) {
        let mut body = request("u", user, kind, &object, &old);
        body["request"]["dryRun"] = dry_run.into();
        body["request"]["subResource"] = subresource.into();
        is_decided_the_same_once_more(&body, kind, mode, entry, policy)?;
    }

    #[test]
    fn a_workload_is_decided_the_same_once_more_whatever_of_it_is_hidden(
        (mode, (kind, object)) in modes().prop_flat_map(|mode| (Just(mode), benign_workload(mode))),
        hidden in prop::collection::vec(("[a-c]{0,1}", prop::sample::select(SPOTS.to_vec())), 0..6),
        changed in prop::collection::vec(("[a-c]{0,1}", prop::sample::select(SPOTS.to_vec())), 0..3),
        user in users(), policy in policies(), entry in entries(), is_update in any::<bool>(),
    ) {
        let mut old = object;
        plant(kind, &mut old, &hidden);
        let mut object = old.clone();
        plant(kind, &mut object, &changed);
        let body = request("u", user, kind, &object, if is_update { &old } else { &Value::Null });
        is_decided_the_same_once_more(&body, kind, mode, entry, policy)?;
    }

    #[test]
    fn a_namespace_is_decided_the_same_once_more(
        object in benign_namespace(), old in benign_namespace(), user in users(), entry in entries(),
        is_update in any::<bool>(),
    ) {
        let body = request("u", user, Kind::Namespace, &object, if is_update { &old } else { &Value::Null });
        is_decided_the_same_once_more(&body, Kind::Namespace, RuntimeMode::FullEnv, entry, RunPolicy::default())?;
    }
}

/// The places of a container or its object that may contain secrets.
const SPOTS: [&str; 8] =
    ["args", "command", "env", "secret env", "run env", "annotation", "header", "volume"];

fn pod_spec(kind: Kind, object: &mut Value) -> &mut Value {
    let path = match kind {
        Kind::CronJob => "/spec/jobTemplate/spec/template/spec",
        Kind::Pod => "/spec",
        _ => "/spec/template/spec",
    };
    object.pointer_mut(path).unwrap()
}

fn plant(kind: Kind, object: &mut Value, values: &[(String, &str)]) {
    for (value, spot) in values {
        if *spot == "annotation" {
            object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
                value.as_str().into();
            continue;
        }
        let spec = pod_spec(kind, object);
        if *spot == "volume" {
            spec["volumes"] =
                json!([{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"key": value}}}]);
            continue;
        }
        let container = &mut spec["containers"][0];
        match *spot {
            "header" => {
                let headers = json!([{"name": "Authorization", "value": value}]);
                container["livenessProbe"]["httpGet"] = json!({"port": 80, "httpHeaders": headers});
            }
            "args" | "command" => container[*spot] = json!([value]),
            "env" => container["env"] = json!([{"name": "PATH", "value": value}]),
            "secret env" => container["env"] = json!([{"name": "CODEXK8S_OPENAI_API_KEY", "value": value}]),
            _ => container["env"] = json!([{"name": "CODEXK8S_RUN_ID", "value": value}]),
        }
    }
}

const SECRET: &str = "hunter2-9f3c";

/// Returns a Pod that is denied because of the host network, with the secret in every possible place.
fn telling_pod() -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "managedFields": [{"manager": SECRET}]},
        "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "busybox"}],
            "initContainers": [{"name": "i", "image": "busybox", "args": [SECRET]}]},
        "status": {"message": SECRET, "containerStatuses": [{"state": {"terminated": {"message": SECRET}}}]},
    });
    let everywhere: Vec<_> =
        SPOTS.into_iter().filter(|spot| *spot != "run env").map(|spot| (SECRET.to_owned(), spot)).collect();
    plant(Kind::Pod, &mut pod, &everywhere);
    let container = &mut pod["spec"]["containers"][0];
    container["env"] =
        json!([{"name": "TOKEN", "value": SECRET}, {"name": "CODEXK8S_RUN_ID", "value": RUN_ID}]);
    container["lifecycle"] = json!({"postStart": {"exec": {"command": [SECRET]}},
        "preStop": {"httpGet": {"path": format!("/?token={SECRET}")}}});
    pod
}

fn telling_secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": {"name": "s",
        "annotations": {"example.dev/token": SECRET}}, "data": {"password": SECRET}, "stringData": {"password": SECRET},
        "binaryData": {"password": SECRET}})
}

/// An engine that records, with its metrics.
struct Recording {
    engine: Engine<OneNamespace>,
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

impl Recording {
    fn into(folder: &Path, bounds: Bounds, what: What) -> Self {
        let metrics = Arc::<Metrics>::default();
        let recorder = Recorder::start(folder.to_owned(), bounds, what, Arc::clone(&metrics)).unwrap();
        let engine = Engine::new(RunPolicy::default(), OneNamespace, Arc::clone(&metrics));
        Self { engine: engine.recorded_by(Some(recorder.clone())), recorder, metrics }
    }

    /// Returns true if the request was denied.
    async fn evaluate(&self, uid: &str, kind: Kind, object: &Value) -> bool {
        let body = serde_json::to_vec(&request(uid, "jane", kind, object, &Value::Null)).unwrap();
        let review = review::parse(&body).unwrap();
        let answered = self.engine.review(Entry::Validate, &review, Instant::now()).await;
        self.recorder.flush().await;
        answered.denial.is_some()
    }

    #[track_caller]
    fn has_counted(&self, outcome: &str, count: usize) {
        let line = format!("codex_k8s_webhook_records_total{{outcome=\"{outcome}\"}} {count}");
        let metrics = self.metrics.render();
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
}

fn texts(folder: &Path) -> Vec<String> {
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path()).unwrap();
    fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn messages_that_quote_what_is_hidden_are_written_without_it() {
    let (old, new) = (json!({}), json!({"annotations": SECRET}));
    let mut body = request("u", "jane", Kind::ResourceQuota, &new, &old);
    body["request"]["subResource"] = "status".into();
    let (mode, policy) = (RuntimeMode::FullEnv, RunPolicy::default());
    let record =
        is_decided_the_same_once_more(&body, Kind::ResourceQuota, mode, Entry::Validate, policy).unwrap();
    assert_eq!(record.verdict.rules, ["BASE003"]);
    let message = record.verdict.message.as_deref().unwrap();
    assert!(message.contains("(redacted 1)"), "{message}");
    assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
}

#[tokio::test]
async fn a_secret_in_env_arguments_annotations_or_data_is_written_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::into(folder.path(), ROOMY, What::All);
    assert!(recording.evaluate("u1", Kind::Pod, &telling_pod()).await);
    assert!(recording.evaluate("u2", Kind::Secret, &telling_secret()).await);
    recording.has_counted("written", 2);
    let texts = texts(folder.path());
    assert_eq!(texts.len(), 2);
    for text in texts {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("(redacted 1)"), "{text}");
    }
}

#[tokio::test]
async fn the_id_of_a_denial_finds_its_record_which_no_one_else_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let recording = Recording::into(&records, ROOMY, What::Denied);
    assert!(recording.evaluate("705ab4f5-6393", Kind::Pod, &telling_pod()).await);
    let mild = json!({"metadata": {"name": "s"}, "type": "Opaque"});
    assert!(!recording.evaluate("705ab4f5-6394", Kind::Secret, &mild).await);
    let file = folder::find(&records, "705ab4f5-6393").unwrap().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&records).unwrap().permissions().mode() & 0o777, 0o700);
    let Stored::Record(record) = Stored::read(fs::read(file).unwrap()).unwrap() else { panic!("no record") };
    assert_eq!((record.verdict.result, record.verdict.code), (Verdict::Denied, Some(403)));
    assert!(record.verdict.rules.contains(&"JOB018".to_owned()), "{:?}", record.verdict);
    assert_eq!(
        folder::find(&records, "705ab4f5-6394").unwrap(),
        None,
        "only what is denied was to be recorded"
    );
}

#[tokio::test]
async fn the_oldest_records_make_room_and_other_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.json"), "mine").unwrap();
    fs::write(folder.path().join(".record-killed"), "half").unwrap();
    let bounds = Bounds { files: 3, ..ROOMY };
    for process in ["a", "b"] {
        let recording = Recording::into(folder.path(), bounds, What::Denied);
        for number in 0..4 {
            recording.evaluate(&format!("{process}{number}"), Kind::Pod, &telling_pod()).await;
        }
    }
    let ids: Vec<_> = folder::list(folder.path()).unwrap().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["b1", "b2", "b3"]);
    assert_eq!(fs::read_to_string(folder.path().join("notes.json")).unwrap(), "mine");
    assert!(!folder.path().join(".record-killed").exists());
    let size = fs::metadata(folder::find(folder.path(), "b3").unwrap().unwrap()).unwrap().len();
    // Records of one kind differ by a few bytes, because the number of digits of the time varies.
    let recording =
        Recording::into(folder.path(), Bounds { bytes: 2 * size + size / 2, ..ROOMY }, What::Denied);
    recording.evaluate("c0", Kind::Pod, &telling_pod()).await;
    let ids: Vec<_> = folder::list(folder.path()).unwrap().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["b3", "c0"], "what another process left counts as well");
}

#[tokio::test]
async fn what_cannot_be_written_is_counted_and_answered_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let recording = Recording::into(&file, ROOMY, What::Denied);
    assert!(recording.evaluate("u1", Kind::Pod, &telling_pod()).await);
    recording.has_counted("failed", 1);
    fs::remove_file(&file).unwrap();
    assert!(recording.evaluate("u2", Kind::Pod, &telling_pod()).await);
    recording.has_counted("written", 1);
}

#[tokio::test]
async fn a_uid_that_leads_out_of_the_folder_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let recording = Recording::into(&records, ROOMY, What::Denied);
    for uid in ["../../out", "a/b", ".", "x\u{0}y"] {
        assert!(recording.evaluate(uid, Kind::Pod, &telling_pod()).await);
    }
    recording.has_counted("failed", 4);
    assert_eq!(fs::read_dir(&records).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_would_fill_the_memory_is_dropped_and_answered_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::into(folder.path(), ROOMY, What::Denied);
    let mut large = telling_pod();
    large["metadata"]["annotations"]["example.dev/large"] = "x".repeat(17 << 20).into();
    assert!(recording.evaluate("u1", Kind::Pod, &large).await);
    recording.has_counted("dropped", 1);
    assert!(recording.evaluate("u2", Kind::Pod, &telling_pod()).await);
    recording.has_counted("written", 1);
}
