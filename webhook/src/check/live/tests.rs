use std::collections::BTreeSet;

use codex_k8s_shared::baseline::desired;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::{LISTED, Listed};
use super::*;
use crate::check::{CheckRequest, Checker, Evaluation, Origin, Report, Requester, Severity, Verdict, read};
use crate::created::as_created;
use crate::rules::Kind;
use codex_k8s_shared::install::FIELD_MANAGER;

const NAME: &str = "codex-issue-a74d653cadf0-i42-rnightly";
const CREATED: &str = "2026-02-01T12:00:00Z";
const NOW: &str = "2026-02-01T20:00:00Z";

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: tests, namespace: NAME}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox}]
";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(text: &str) -> RunPolicy {
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    RunPolicy::from_yaml(&format!("{head}{text}")).unwrap()
}

/// Returns the object that the API server would have stored for a manifest hours ago, with the fields that it sets.
async fn stored(text: &str) -> Value {
    let requester = Requester { user: "jane".to_owned(), groups: Vec::new() };
    let request = CheckRequest { now: Some(at(CREATED)), ..CheckRequest::creation(requester) };
    let checker = Checker::new(RunPolicy::default(), request.clone());
    let documents = read("f.yaml", text.as_bytes(), Origin::Named).unwrap().documents;
    let (_, object) = checker.evaluate_change(&request.requester, &documents[0]).await.unwrap();
    let mut object = object.unwrap();
    for (key, value) in [
        ("uid", json!("5d0a")),
        ("resourceVersion", json!("77")),
        ("creationTimestamp", json!(CREATED)),
        ("managedFields", json!([{"manager": "kubectl-create", "operation": "Update", "fieldsV1": {}}])),
    ] {
        object["metadata"][key] = value;
    }
    object["status"] = json!({"phase": "Active"});
    object
}

async fn namespace() -> Value {
    let mut namespace =
        stored(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAME}}}\n")).await;
    namespace["metadata"]["annotations"][keys::BASELINE_READY_AT] = CREATED.into();
    namespace["metadata"]["annotations"][keys::BASELINE_HASH] = "sha256:1".into();
    namespace
}

async fn job() -> Value {
    let mut job = stored(&JOB.replace("NAME", NAME)).await;
    job["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "5d0a"}});
    for pointer in ["/metadata", "/spec/template/metadata"] {
        job.pointer_mut(pointer).unwrap()["labels"]["batch.kubernetes.io/controller-uid"] = "5d0a".into();
    }
    job
}

/// Returns the baseline in its desired state.
fn baseline() -> Vec<Value> {
    desired(&RunPolicy::default(), NAME, RuntimeMode::FullEnv)
        .into_iter()
        .map(|desired| {
            let mut object = desired.object;
            object["metadata"]["managedFields"] =
                json!([{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}}]);
            if object["kind"] == "ResourceQuota" {
                object["status"] = json!({"hard": object["spec"]["hard"]});
            }
            object
        })
        .collect()
}

struct Cluster {
    namespaces: Vec<Value>,
    objects: Vec<Value>,
}

impl Cluster {
    async fn complete() -> Self {
        let mut objects = baseline();
        objects.push(job().await);
        Self { namespaces: vec![namespace().await], objects }
    }

    fn with(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    async fn live_check(self, proposed: Option<RunPolicy>) -> Outcome {
        self.live_check_as(None, proposed).await
    }

    async fn live_check_as(self, requester: Option<Requester>, proposed: Option<RunPolicy>) -> Outcome {
        let mut live_check = LiveCheck::new(RunPolicy::default(), proposed, requester, at(NOW), true);
        live_check.take_namespaces(self.namespaces).await.unwrap();
        for listed in &LISTED {
            let of_kind = |object: &&Value| object["kind"] == listed.kind;
            let page = self.objects.iter().filter(of_kind).cloned().collect();
            live_check.take(listed, page).await.unwrap();
        }
        live_check.finish(17, Vec::new())
    }

    async fn report(self) -> Report {
        match self.live_check(None).await {
            Outcome::Verdicts(report) => report,
            Outcome::Rollout(report) => panic!("{report:?}"),
        }
    }

    async fn rollout(self, text: &str) -> RolloutReport {
        match self.live_check(Some(policy(text))).await {
            Outcome::Rollout(report) => report,
            Outcome::Verdicts(report) => panic!("{report:?}"),
        }
    }
}

fn of<'a>(report: &'a Report, what: &str) -> &'a Evaluation {
    report.objects.iter().find(|evaluation| evaluation.what() == what).unwrap_or_else(|| panic!("{report:?}"))
}

fn effects(report: &RolloutReport) -> Vec<(Effect, String)> {
    report.changes.iter().map(|change| (change.effect, change.what())).collect()
}

#[test]
fn every_kind_that_the_rules_know_and_that_can_be_listed_is_read() {
    let known: BTreeSet<_> = LISTED.iter().map(|Listed { group, kind, .. }| (*group, *kind)).collect();
    assert_eq!(known.len(), LISTED.len());
    for (group, kind) in &known {
        assert!(Kind::of(group, kind).is_some(), "{kind}");
    }
    // Five kinds share the rules for templates; a Binding and a TokenRequest are never stored; Namespaces are read
    // first.
    let kinds: BTreeSet<_> =
        known.iter().map(|(group, kind)| format!("{:?}", Kind::of(group, kind).unwrap())).collect();
    assert_eq!(kinds.len() + 3, 15, "{kinds:?}");
}

#[tokio::test]
async fn what_the_webhook_has_mutated_and_the_cluster_noted_is_admitted_as_it_is() {
    let report = Cluster::complete().await.report().await;
    let results: Vec<_> =
        report.objects.iter().map(|evaluation| (evaluation.what(), evaluation.result)).collect();
    assert!(results.iter().all(|(_, result)| *result == Verdict::Admitted), "{report:?}");
    assert_eq!(results.len(), 1 + baseline().len() + 1);
    assert_eq!(results[0].0, format!("Namespace {NAME}"));
    let live = report.live.unwrap();
    assert_eq!((live.namespaces, live.terminating, live.requests), (1, 0, 17));
    assert!(live.closed.is_empty());
}

#[tokio::test]
async fn what_slipped_in_gets_the_message_of_the_webhook() {
    let mut job = job().await;
    job["metadata"]["name"] = "escape".into();
    job["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let report = Cluster::complete().await.with(job).report().await;
    let evaluation = of(&report, &format!("Job {NAME}/escape"));
    assert_eq!((evaluation.result, evaluation.rules()), (Verdict::Denied, vec!["JOB018"]));
    let message = evaluation.message.as_deref().unwrap();
    assert!(message.starts_with("JOB018: spec.template.spec.hostNetwork: Invalid value: true"), "{message}");
    assert_eq!(report.summary.denied, 1);
}

#[tokio::test]
async fn a_pod_is_evaluated_as_its_controllers_unless_it_has_none() {
    let pod = |name: &str, owner: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAME, "ownerReferences": owner,
                "labels": {keys::RUN_ID: "another-run"}},
            "spec": {"nodeName": "node-1", "serviceAccountName": "codex-runner",
                "containers": [{"name": "c", "image": "busybox"}]}})
    };
    let owner =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "tests", "uid": "1", "controller": true}]);
    let cluster = Cluster::complete().await.with(pod("made", owner)).with(pod("bare", json!([])));
    let report = cluster.report().await;
    // It lacks the values that the webhook would have added, and its labels of another run are accepted.
    let made = of(&report, &format!("Pod {NAME}/made"));
    assert_eq!((made.result, made.rules()), (Verdict::Mutated, vec![]));
    let bare = of(&report, &format!("Pod {NAME}/bare"));
    assert_eq!((bare.result, bare.rules()), (Verdict::Denied, vec!["JOB001"]));
}

#[tokio::test]
async fn a_baseline_that_has_drifted_is_reported_by_field_and_by_whom() {
    let mut cluster = Cluster::complete().await;
    cluster.objects.retain(|object| object["kind"] != "LimitRange");
    let quota = cluster.objects.iter_mut().find(|object| object["kind"] == "ResourceQuota").unwrap();
    quota["spec"]["hard"]["pods"] = "1000".into();
    quota["metadata"]["managedFields"] = json!([{"manager": FIELD_MANAGER, "operation": "Apply"}, {"manager": "kubectl-edit", "operation": "Update"}]);
    let report = cluster.report().await;
    let quota = of(&report, &format!("ResourceQuota {NAME}/codex-run-quota"));
    assert_eq!((quota.result, quota.operation), (Verdict::Drifted, "COMPARE"));
    let [problem] = quota.problems.as_slice() else { panic!("{quota:?}") };
    assert_eq!((problem.rule, problem.severity), (RULE, Severity::Error));
    let expected =
        "spec.hard[\"pods\"]: Invalid value: \"1000\", written by kubectl-edit: reconcile sets it to \"20\"";
    assert_eq!(problem.to_string().replace("hard.pods", "hard[\"pods\"]"), expected);
    let limits = of(&report, &format!("LimitRange {NAME}/codex-run-limits"));
    assert_eq!(limits.message.as_deref(), Some("object: Required value: reconcile creates it"));
    assert_eq!(report.summary.drifted, 2);
}

#[tokio::test]
async fn what_lies_elsewhere_is_not_reported_of_save_for_what_reaches_in() {
    let elsewhere = |kind: &str, name: &str, subject: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": if kind == "RoleBinding" { "payments" } else { "" }},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "codex-runner", "namespace": subject}]})
    };
    let mut built_in = elsewhere("ClusterRoleBinding", "discovery", "x");
    built_in["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    built_in["subjects"] = json!([{"kind": "Group", "name": "system:serviceaccounts"}]);
    let mut job = job().await;
    job["metadata"]["namespace"] = "payments".into();
    let cluster = Cluster::complete().await;
    let report = cluster
        .with(job)
        .with(built_in)
        .with(elsewhere("ClusterRoleBinding", "theirs", "payments"))
        .with(elsewhere("ClusterRoleBinding", "reaches-in", NAME))
        .with(elsewhere("RoleBinding", "reaches-in", NAME))
        .report()
        .await;
    let denied: Vec<_> = report
        .objects
        .iter()
        .filter(|evaluation| evaluation.result == Verdict::Denied)
        .map(|evaluation| (evaluation.what(), evaluation.rules()))
        .collect();
    assert_eq!(
        denied,
        [
            ("RoleBinding payments/reaches-in".to_owned(), vec!["RBAC003"]),
            ("ClusterRoleBinding reaches-in".to_owned(), vec!["RBAC003"])
        ]
    );
    assert!(!report.objects.iter().any(|evaluation| evaluation.what() == "Job payments/tests"));
}

#[tokio::test]
async fn a_namespace_of_a_reserved_name_without_labels_is_reported_of() {
    let mut cluster = Cluster::complete().await;
    cluster
        .namespaces
        .push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "codex-run-bare"}}));
    cluster
        .namespaces
        .push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}}));
    let mut leaving = namespace().await;
    leaving["metadata"]["name"] = "codex-issue-b-i1-r2".into();
    leaving["metadata"]["deletionTimestamp"] = NOW.into();
    cluster.namespaces.push(leaving);
    let mut closed = namespace().await;
    closed["metadata"]["name"] = "codex-issue-c-i1-r3".into();
    closed["metadata"]["labels"][keys::RUN_ID] = "r3".into();
    closed["metadata"]["annotations"].as_object_mut().unwrap().remove(keys::BASELINE_READY_AT);
    cluster.namespaces.push(closed);
    let report = cluster.report().await;
    assert_eq!(of(&report, "Namespace codex-run-bare").result, Verdict::Mutated);
    assert!(!report.objects.iter().any(|evaluation| evaluation.name == "payments"));
    let live = report.live.unwrap();
    assert_eq!((live.namespaces, live.terminating), (3, 1));
    assert_eq!(live.closed["codex-issue-c-i1-r3"], "its baseline");
}

#[tokio::test]
async fn a_policy_that_changes_nothing_is_reported_to_change_nothing() {
    let report = Cluster::complete().await.rollout("").await;
    assert!(report.changes.is_empty(), "{report:?}");
    assert_eq!(report.summary.objects, 1 + baseline().len() + 1);
    assert_eq!(report.from, report.to);
}

#[tokio::test]
async fn what_a_policy_would_refuse_or_let_in_is_reported_by_object() {
    let shorter = Cluster::complete().await.rollout("lease: {defaultTtl: 6h0m0s, maxTtl: 6h0m0s}\n").await;
    assert_eq!(effects(&shorter), [(Effect::NewlyDenied, format!("Namespace {NAME}"))]);
    assert!(shorter.changes[0].after.starts_with("denied: LEASE002: "), "{shorter:?}");
    assert_eq!(shorter.summary.newly_denied, 1);
    let mut job = job().await;
    job["metadata"]["name"] = "escape".into();
    job["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let looser =
        Cluster::complete().await.with(job).rollout("rules: {JOB018: \"off\", PSS003: \"off\"}\n").await;
    assert_eq!(effects(&looser), [(Effect::NewlyAdmitted, format!("Job {NAME}/escape"))]);
    let warned = Cluster::complete().await;
    let mut job = self::job().await;
    job["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    job["metadata"]["name"] = "escape".into();
    let warned = warned.with(job).rollout("rules: {JOB018: warn, PSS003: warn}\n").await;
    assert_eq!(effects(&warned), [(Effect::NewlyAdmitted, format!("Job {NAME}/escape"))]);
    assert!(warned.changes[0].after.starts_with("admitted: JOB018"), "{warned:?}");
}

#[tokio::test]
async fn what_reconcile_would_write_is_reported_by_field() {
    let text = "baseline: {fullEnv: {access: candidate, limitRange: null, resourceQuota: {name: codex-run-quota, \
                hard: {pods: \"5\"}}}}\n";
    let report = Cluster::complete().await.rollout(text).await;
    let changes: Vec<_> = report.changes.iter().filter(|change| change.kind == "ResourceQuota").collect();
    let [change] = changes.as_slice() else { panic!("{report:?}") };
    assert_eq!(change.effect, Effect::BaselineChanges);
    assert!(change.after.contains("reconcile sets it to \"5\""), "{change:?}");
}

#[tokio::test]
async fn a_namespace_that_would_be_deleted_at_another_time_is_reported_of() {
    let longer = Cluster::complete().await.rollout("cleanup: {grace: 48h0m0s}\n").await;
    assert_eq!(effects(&longer), [(Effect::ExpiresLater, format!("Namespace {NAME}"))]);
    assert_eq!(longer.changes[0].before, "at 2026-02-02T12:05:00Z: its lease has ended");
    let never = Cluster::complete().await.rollout("cleanup: {enabled: false}\n").await;
    assert_eq!(effects(&never), [(Effect::ExpiresLater, format!("Namespace {NAME}"))]);
    assert_eq!(never.changes[0].after, "never: cleanup is switched off");
    let sooner = Cluster::complete().await.rollout("cleanup: {grace: 1m}\n").await;
    assert_eq!(effects(&sooner), [(Effect::ExpiresSooner, format!("Namespace {NAME}"))]);
    let report = sooner.into_report(&RunPolicy::default());
    assert_eq!((report.summary.objects, report.summary.warned), (1, 1));
}

#[tokio::test]
async fn the_requester_of_the_check_is_the_creator_of_what_no_controller_made() {
    let agent = Requester { user: "agent".to_owned(), groups: Vec::new() };
    let mut job = job().await;
    job["metadata"]["name"] = "codex-k8s-run-nightly".into();
    let outcome = Cluster::complete().await.with(job).live_check_as(Some(agent), None).await;
    let Outcome::Verdicts(report) = outcome else { panic!("{outcome:?}") };
    let evaluation = of(&report, &format!("Job {NAME}/codex-k8s-run-nightly"));
    assert_eq!((evaluation.result, evaluation.rules()), (Verdict::Denied, vec!["JOB002"]));
}

#[tokio::test]
async fn a_list_that_is_begun_again_leaves_nothing_of_its_first_half() {
    let mut live_check = LiveCheck::new(RunPolicy::default(), None, None, at(NOW), true);
    live_check.take_namespaces(vec![namespace().await]).await.unwrap();
    let jobs = LISTED.iter().find(|listed| listed.kind == "Job").unwrap();
    let mark = live_check.mark();
    live_check.take(jobs, vec![job().await]).await.unwrap();
    live_check.return_to(mark);
    live_check.take(jobs, vec![job().await]).await.unwrap();
    let left_out = vec!["roles".to_owned()];
    let Outcome::Verdicts(report) = live_check.finish(3, left_out.clone()) else { panic!() };
    // Without Roles, the baseline cannot be compared.
    assert_eq!(report.summary.objects, 2);
    assert_eq!(report.live.unwrap().left_out, left_out);
}

#[test]
fn a_lease_begins_anew_and_one_that_cannot_be_read_stays() {
    let namespace = |updated: &str| {
        json!({"kind": "Namespace", "metadata": {"annotations": {
            keys::NAMESPACE_LEASE_TTL: "24h0m0s",
            keys::NAMESPACE_LEASE_UPDATED_AT: updated,
            keys::NAMESPACE_LEASE_EXPIRES_AT: "2026-02-02T12:00:00Z",
        }}})
    };
    let renewed = as_created(namespace(CREATED), at(NOW));
    let annotations = &renewed["metadata"]["annotations"];
    assert_eq!(annotations[keys::NAMESPACE_LEASE_UPDATED_AT], NOW);
    assert_eq!(annotations[keys::NAMESPACE_LEASE_EXPIRES_AT], "2026-02-02T20:00:00Z");
    assert_eq!(as_created(namespace("yesterday"), at(NOW)), namespace("yesterday"));
}

#[tokio::test]
async fn what_is_reported_is_as_the_published_schemas_say() {
    let mut cluster = Cluster::complete().await;
    cluster.objects.retain(|object| object["kind"] != "LimitRange");
    let report = serde_json::to_value(cluster.report().await).unwrap();
    let check = include_str!("../../../../docs/check-report.schema.json");
    let rollout = Cluster::complete().await.rollout("lease: {defaultTtl: 6h0m0s, maxTtl: 6h0m0s}\n").await;
    let rollout_report = serde_json::to_value(rollout).unwrap();
    let rollout = include_str!("../../../../docs/rollout-report.schema.json");
    for (mut report, schema, generated) in
        [(report, check, Report::json_schema()), (rollout_report, rollout, RolloutReport::json_schema())]
    {
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema, serde_json::to_value(generated).unwrap(), "out of date: run `make generate`");
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0]);
        report["live"]["namespaces"] = "many".into();
        assert!(!validator.is_valid(&report));
    }
}
