//! Decisions that are hard to provoke on a real API server.

use std::sync::Arc;

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-02-01T12:00:00Z";

pub(crate) fn request(user: &str, kind: Kind, old: Option<Value>, new: Option<Value>) -> Request<'_> {
    let operation = match (&old, &new) {
        (None, _) => Operation::Create,
        (_, None) => Operation::Delete,
        _ => Operation::Update,
    };
    Request {
        operation,
        kind,
        subresource: None,
        name: "",
        user,
        groups: Vec::new(),
        object: new,
        old_object: old,
    }
}

pub(crate) fn run_namespace(name: &str) -> ManagedNamespace {
    ManagedNamespace {
        run_id: "r1".into(),
        project_id: "p1".into(),
        pod_security: LevelVersion::of(|key| (key == keys::POD_SECURITY_ENFORCE).then_some("baseline")),
        ..ManagedNamespace::bare(name)
    }
}

/// Returns the rules that deny a request.
fn refusals(facts: &Facts, request: &Request<'_>) -> Vec<&'static str> {
    let verdict = decide(&RunPolicy::default(), facts, request, Entry::Validate);
    let mut rules: Vec<_> = verdict.denials().map(|finding| finding.rule.id).collect();
    rules.dedup();
    rules
}

fn in_run_namespace() -> Facts {
    let namespace = Some(Arc::new(run_namespace("codex-issue-1")));
    Facts { namespace, ..Facts::at(NOW.parse().unwrap()) }
}

#[test]
fn a_controller_manager_without_an_identity_per_controller_makes_the_pods_of_a_run() {
    let pod = json!({"metadata": {"name": "codex-k8s-run-r1-abcde", "labels":
            {"codex-k8s.dev/run-id": "r1", "app.kubernetes.io/name": "codex-k8s-run"}},
        "spec": {"serviceAccountName": "codex-runner", "containers": [{"name": "c"}]}});
    let made_by = |user| refusals(&in_run_namespace(), &request(user, Kind::Pod, None, Some(pod.clone())));
    assert_eq!(made_by("system:serviceaccount:kube-system:job-controller"), [""; 0]);
    assert_eq!(made_by("system:kube-controller-manager"), [""; 0]);
    assert_eq!(made_by("jane"), ["JOB001", "JOB002"]);
}

const WORKER: &str = "system:serviceaccount:codex-k8s-prod:codex-k8s-worker";

/// Returns a slot before and after its worker labels it; the first one carries `planted` values.
fn slot(planted: &Value) -> (Value, Value) {
    let mut bare = json!({"metadata": {"name": "codex-k8s-dev-1", "annotations": {}}, "spec": {"finalizers": ["kubernetes"]}});
    json_patch::merge(&mut bare, planted);
    let mut managed = bare.clone();
    json_patch::merge(
        &mut managed,
        &json!({"metadata": {"labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": "r1", "codex-k8s.dev/project-id": "p1",
        }}}),
    );
    (bare, managed)
}

/// Returns the object that the API server would store, and the rules that deny it.
fn grant(planted: &Value) -> (Value, Vec<&'static str>) {
    let (bare, mut managed) = slot(planted);
    let facts = Facts::at(NOW.parse().unwrap());
    let evaluated = request(WORKER, Kind::Namespace, Some(bare.clone()), Some(managed.clone()));
    let mutated = decide(&RunPolicy::default(), &facts, &evaluated, Entry::Mutate);
    json_patch::patch(&mut managed, &mutated.patch).unwrap();
    let evaluated = request(WORKER, Kind::Namespace, Some(bare), Some(managed.clone()));
    (managed, refusals(&facts, &evaluated))
}

#[test]
fn what_was_planted_in_a_bare_slot_is_forgotten_when_it_becomes_managed() {
    let planted = json!({"metadata": {"annotations": {
        "codex-k8s.dev/requested-by": "mallory",
        "codex-k8s.dev/baseline-ready-at": "2026-01-01T00:00:00Z",
        "codex-k8s.dev/baseline-hash": "0",
    }}});
    let (stored, refused) = grant(&planted);
    assert_eq!(refused, [""; 0]);
    assert_eq!(stored["metadata"]["annotations"]["codex-k8s.dev/requested-by"], WORKER);
    assert_eq!(stored["metadata"]["annotations"].get("codex-k8s.dev/baseline-ready-at"), None);
    assert_eq!(stored["metadata"]["annotations"].get("codex-k8s.dev/baseline-hash"), None);
}

#[test]
fn what_cannot_be_forgotten_of_what_was_planted_in_a_slot_is_refused() {
    for (planted, rule) in [
        (json!({"metadata": {"finalizers": ["example.dev/stay"]}}), "NS012"),
        (json!({"metadata": {"annotations": {"codex-k8s.dev/namespace-lease-ttl": "9999h"}}}), "LEASE002"),
        (json!({"metadata": {"annotations": {"codex-k8s.dev/surprise": "x"}}}), "NS009"),
        (json!({"spec": {"finalizers": ["kubernetes", "example.dev/stay"]}}), "NS013"),
    ] {
        assert_eq!(grant(&planted).1, [rule], "{planted}");
    }
}

#[test]
fn a_protected_namespace_that_was_managed_once_can_be_released() {
    let labelled = json!({"metadata": {"name": "codex-k8s-prod", "labels":
        {"codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/run-id": "r1"}}});
    let bare = json!({"metadata": {"name": "codex-k8s-prod"}});
    let facts = Facts::at(NOW.parse().unwrap());
    let released = request("admin", Kind::Namespace, Some(labelled.clone()), Some(bare.clone()));
    assert_eq!(refusals(&facts, &released), [""; 0]);
    let back = request("admin", Kind::Namespace, Some(bare), Some(labelled));
    assert_eq!(refusals(&facts, &back), ["NS008"]);
}

/// Returns the rules that deny an agent's change to the platform's own Deployment in a slot.
fn change_of_the_platforms(change: &Value) -> Vec<&'static str> {
    let old = json!({"metadata": {"name": "control-plane"}, "spec": {"template": {"spec": {
        "serviceAccountName": "codex-k8s-control-plane", "hostNetwork": true,
        "containers": [{"name": "c", "image": "platform:1", "resources": {}}]}}}});
    let mut new = old.clone();
    json_patch::merge(&mut new, change);
    let facts = Facts {
        namespace: Some(Arc::new(run_namespace("codex-k8s-dev-1"))),
        requester_is_managed: true,
        ..Facts::at(NOW.parse().unwrap())
    };
    let agent = "system:serviceaccount:codex-k8s-dev-1:codex-runner";
    refusals(&facts, &request(agent, Kind::Template, Some(old), Some(new)))
}

#[test]
fn another_program_does_not_inherit_the_rights_of_the_platforms() {
    let containers = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    for program in [
        json!({"name": "c", "image": "mine:1"}),
        json!({"name": "c", "image": "platform:1", "command": ["sh"]}),
        json!({"name": "c", "image": "platform:1", "env": [{"name": "LD_PRELOAD", "value": "/mine.so"}]}),
    ] {
        assert_eq!(change_of_the_platforms(&containers(program)), ["JOB004", "JOB018"]);
    }
    let volumes =
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "configMap": {"name": "mine"}}]}}}});
    assert_eq!(change_of_the_platforms(&volumes), ["JOB004", "JOB018"]);
    let beside =
        json!({"spec": {"template": {"spec": {"initContainers": [{"name": "i", "image": "mine:1"}]}}}});
    assert_eq!(change_of_the_platforms(&beside), ["JOB004", "JOB018"]);
}

#[test]
fn what_leaves_the_platforms_program_alone_is_not_blamed_for_its_rights() {
    for change in [
        json!({"spec": {"replicas": 2}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}),
        json!({"spec": {"template": {"spec": {"hostNetwork": false}}}}),
    ] {
        assert_eq!(change_of_the_platforms(&change), [""; 0]);
    }
}

/// Returns the rules that deny the deletion of a namespace with these annotations by the garbage collector.
fn collected(policy: &str, annotations: &Value) -> Vec<&'static str> {
    let namespace = json!({"metadata": {"name": "codex-issue-1", "creationTimestamp": "2026-01-30T12:00:00Z",
        "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}, "annotations": annotations}});
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    let policy = RunPolicy::from_yaml(&format!("{head}{policy}")).unwrap();
    let collector = "system:serviceaccount:codex-k8s-guard:codex-k8s-gc";
    let deletion = request(collector, Kind::Namespace, Some(namespace), None);
    let verdict = decide(&policy, &Facts::at(NOW.parse().unwrap()), &deletion, Entry::Validate);
    verdict.denials().map(|finding| finding.rule.id).collect()
}

fn leased(expires_at: &str, updated_at: &str) -> Value {
    json!({"codex-k8s.dev/namespace-lease-ttl": "24h0m0s", "codex-k8s.dev/namespace-lease-expires-at": expires_at,
        "codex-k8s.dev/namespace-lease-updated-at": updated_at})
}

#[test]
fn a_stolen_token_of_the_garbage_collector_deletes_nothing_that_lives_or_is_held() {
    let ended = leased("2026-02-01T11:00:00Z", "2026-01-31T11:00:00Z");
    let living = leased("2026-02-01T13:00:00Z", "2026-01-31T13:00:00Z");
    assert_eq!(collected("", &ended), [""; 0]);
    assert_eq!(collected("", &living), ["NS015"]);
    assert_eq!(collected("", &json!({})), ["NS015"]);
    let held = |hold: &str| {
        let mut annotations = ended.clone();
        annotations["codex-k8s.dev/hold"] = hold.into();
        collected("", &annotations)
    };
    assert_eq!(held("2026-02-02T00:00:00Z looking into it"), ["NS015"]);
    assert_eq!(held("for ever"), ["NS015"]);
    assert_eq!(held("2026-02-01T00:00:00Z looked into it"), [""; 0]);
    assert_eq!(collected("cleanup: {missingLease: useAge}", &json!({})), [""; 0], "two days old");
    assert_eq!(collected("cleanup: {missingLease: useAge}", &living), ["NS015"]);
    let finished = "cleanup: {retention: {fullEnv: {succeeded: {afterFinish: 1s}}}}";
    assert_eq!(
        collected(finished, &living),
        [""; 0],
        "the policy lets finished runs go before their leases end"
    );
}

const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";

/// Returns a stored namespace whose gate is closed.
fn waiting() -> Value {
    json!({"metadata": {"name": "codex-issue-1", "creationTimestamp": "2026-02-01T11:00:00Z", "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": "1", "codex-k8s.dev/project-id": "p1",
            "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"},
        "annotations": {
            "codex-k8s.dev/namespace-lease-ttl": "24h0m0s",
            "codex-k8s.dev/namespace-lease-expires-at": "2026-02-02T11:00:00Z",
            "codex-k8s.dev/namespace-lease-updated-at": "2026-02-01T11:00:00Z"}}})
}

/// Returns a namespace at the gate whose lease was shortened to a ttl, with other annotations.
fn cut(ttl: &str, expires_at: &str, updated_at: &str, others: &Value) -> Value {
    let mut new = waiting();
    json_patch::merge(
        &mut new,
        &json!({"metadata": {"annotations": {
            "codex-k8s.dev/namespace-lease-ttl": ttl,
            "codex-k8s.dev/namespace-lease-expires-at": expires_at,
            "codex-k8s.dev/namespace-lease-updated-at": updated_at}}}),
    );
    json_patch::merge(&mut new, &json!({"metadata": {"annotations": others}}));
    new
}

#[test]
fn the_reconciler_cuts_the_lease_of_a_namespace_without_a_reservation_and_nothing_else() {
    let facts = Facts::at(NOW.parse().unwrap());
    let by = |user: &str, old: Value, new: Value| {
        let request = request(user, Kind::Namespace, Some(old), Some(new));
        refusals(&facts, &request)
    };
    let pending = json!({"codex-k8s.dev/quota-pending-since": NOW});
    let right = |others: &Value| cut("15m0s", "2026-02-01T12:15:00Z", NOW, others);
    assert_eq!(by(RECONCILER, waiting(), right(&pending)), [""; 0]);
    assert_eq!(by("jane", waiting(), right(&pending)), ["NS011", "LEASE004"]);
    assert_eq!(by(RECONCILER, waiting(), right(&json!({}))), ["LEASE004"], "it says why");
    let open = json!({"codex-k8s.dev/quota-pending-since": NOW, "codex-k8s.dev/baseline-ready-at": NOW});
    assert_eq!(by(RECONCILER, waiting(), right(&open)), ["LEASE004"], "not of one that works");
    let shorter = cut("10m0s", "2026-02-01T12:10:00Z", NOW, &pending);
    assert_eq!(by(RECONCILER, waiting(), shorter), ["LEASE004"], "not to less than the policy says");
    let inconsistent = cut("15m0s", "2026-02-01T12:11:00Z", NOW, &pending);
    assert_eq!(by(RECONCILER, waiting(), inconsistent), ["LEASE004"]);
    let backdated = cut("15m0s", "2026-02-01T12:05:00Z", "2026-02-01T11:50:00Z", &pending);
    assert_eq!(by(RECONCILER, waiting(), backdated), ["LEASE004"]);
    let again = cut("15m0s", "2026-02-01T12:15:00Z", NOW, &pending);
    let mut cut_before = waiting();
    json_patch::merge(&mut cut_before, &json!({"metadata": {"annotations": &pending}}));
    assert_eq!(by(RECONCILER, cut_before, again), ["LEASE004"], "once");
}

fn full(scope: codex_k8s_shared::quota::Scope) -> Facts {
    let holders = Holders {
        held: 7,
        some: vec!["a".into(), "b".into(), "c".into()],
        next_end: Some("2026-02-01T13:00:00Z".parse().unwrap()),
    };
    let occupancy = vec![Occupancy { scope, max: 7, holders }];
    Facts { occupancy, ..Facts::at(NOW.parse().unwrap()) }
}

#[test]
fn a_full_scope_lets_nothing_in_and_leaves_what_is_in_it_alone() {
    use codex_k8s_shared::quota::Scope;
    for (scope, path) in [
        (Scope::Cluster, "metadata.name"),
        (Scope::Project("p1".into()), r#"metadata.labels["codex-k8s.dev/project-id"]"#),
        (Scope::Requester("jane".into()), r#"metadata.annotations["codex-k8s.dev/requested-by"]"#),
    ] {
        let mut created = waiting();
        created["metadata"]["annotations"]["codex-k8s.dev/requested-by"] = "jane".into();
        let created = request("jane", Kind::Namespace, None, Some(created));
        let verdict = decide(&RunPolicy::default(), &full(scope.clone()), &created, Entry::Validate);
        let [finding] = verdict.findings.as_slice() else { panic!("{:?}", verdict.findings) };
        assert_eq!((finding.rule.id, finding.code, &*finding.path), ("QUOTA003", Code::Forbidden, path));
        let message =
            format!("7 run namespaces in this {}, whose limit is 7: a, b, c and 4 more", scope.kind());
        assert!(finding.found.contains(&message), "{}", finding.found);
        assert_eq!(finding.remedy, "delete one, or wait: the next lease ends at 2026-02-01T13:00:00Z");
        let mut noted = waiting();
        noted["metadata"]["annotations"]["example.dev/note"] = "x".into();
        let changed = request("jane", Kind::Namespace, Some(waiting()), Some(noted));
        assert_eq!(refusals(&full(scope), &changed), [""; 0]);
    }
}

#[test]
fn a_slot_comes_into_a_full_scope_neither_by_becoming_managed_nor_by_changing_its_project() {
    use codex_k8s_shared::quota::Scope;
    let facts = full(Scope::Project("p1".into()));
    let (bare, mut managed) = slot(&json!({}));
    let evaluated = request(WORKER, Kind::Namespace, Some(bare.clone()), Some(managed.clone()));
    let mutated = decide(&RunPolicy::default(), &facts, &evaluated, Entry::Mutate);
    json_patch::patch(&mut managed, &mutated.patch).unwrap();
    let evaluated = request(WORKER, Kind::Namespace, Some(bare), Some(managed.clone()));
    assert_eq!(refusals(&facts, &evaluated), ["QUOTA003"]);
    let mut handed_on = managed.clone();
    let lease = json!({"codex-k8s.dev/namespace-lease-updated-at": "2026-02-01T12:00:05Z",
        "codex-k8s.dev/namespace-lease-expires-at": "2026-02-02T12:00:05Z"});
    let change = json!({"metadata": {"labels": {"codex-k8s.dev/project-id": "p2"}, "annotations": lease}});
    json_patch::merge(&mut handed_on, &change);
    let evaluated = request(WORKER, Kind::Namespace, Some(managed), Some(handed_on));
    assert_eq!(refusals(&facts, &evaluated), ["QUOTA003"]);
}
