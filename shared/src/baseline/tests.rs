use proptest::prelude::*;

use super::BaselineKind as K;
use super::*;

const NAMESPACE: &str = "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47";

fn full_env() -> Vec<Desired> {
    desired(&RunPolicy::default(), NAMESPACE, RuntimeMode::FullEnv)
}

fn of(kind: BaselineKind) -> Desired {
    full_env().into_iter().find(|desired| desired.kind == kind).unwrap()
}

#[test]
fn the_default_baseline_is_what_the_platform_writes_at_a() {
    for (kind, fixture) in [
        (BaselineKind::ServiceAccount, include_str!("../../../tests/fixtures/serviceaccount.yaml")),
        (BaselineKind::Role, include_str!("../../../tests/fixtures/role.yaml")),
        (BaselineKind::RoleBinding, include_str!("../../../tests/fixtures/rolebinding.yaml")),
        (BaselineKind::ResourceQuota, include_str!("../../../tests/fixtures/resourcequota.yaml")),
        (BaselineKind::LimitRange, include_str!("../../../tests/fixtures/limitrange.yaml")),
    ] {
        let written: Value = serde_saphyr::from_str(fixture).unwrap();
        let desired = of(kind);
        assert_eq!(desired.differences(&written), [], "{kind}");
        assert_eq!(written["metadata"]["name"], desired.name);
    }
}

#[test]
fn the_set_depends_on_the_mode_and_on_slots() {
    let kinds = |namespace: &str, mode| {
        let objects = desired(&RunPolicy::default(), namespace, mode);
        objects.iter().map(|desired| desired.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(NAMESPACE, RuntimeMode::FullEnv), K::ALL);
    assert_eq!(kinds(NAMESPACE, RuntimeMode::CodeOnly), [K::ResourceQuota, K::LimitRange]);
    let slot = [K::ServiceAccount, K::Role, K::RoleBinding, K::ResourceQuota];
    assert_eq!(kinds("codex-k8s-dev-1", RuntimeMode::FullEnv), slot);
    assert_eq!(kinds("codex-k8s-dev-1", RuntimeMode::CodeOnly), slot);
}

#[test]
fn what_was_widened_stripped_or_added_is_named() {
    let quota = of(BaselineKind::ResourceQuota);
    let mut stored = quota.object.clone();
    stored["spec"]["hard"]["pods"] = "2000".into();
    stored["spec"]["hard"]["requests.cpu"] = "4000m".into();
    stored["spec"]["scopes"] = json!(["BestEffort"]);
    stored["metadata"]["labels"] = json!({"team": "a"});
    stored["metadata"]["annotations"] = json!({"of": "somebody else"});
    let found: Vec<_> = quota
        .differences(&stored)
        .into_iter()
        .map(|difference| format!("{}: {} not {}", difference.path, difference.found, difference.desired))
        .collect();
    assert_eq!(
        found,
        [
            r#"metadata.labels["codex-k8s.dev/managed-by"]: nothing not "codex-k8s-worker""#,
            r#"spec.hard.pods: "2000" not "20""#,
            r#"spec.scopes: ["BestEffort"] not nothing"#,
        ]
    );
    let role = of(BaselineKind::Role);
    let mut stored = role.object.clone();
    stored["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}));
    assert_eq!(role.differences(&stored)[0].path, "rules[4]");
}

#[test]
fn quantities_of_the_policy_are_stored_in_their_canonical_form() {
    let limits = "{name: l, default: {cpu: 1500m, memory: 1024Mi}, defaultRequest: {cpu: '0.5'}}";
    let set = format!("fullEnv: {{access: candidate, resourceQuota: null, limitRange: {limits}}}");
    let policy = RunPolicy::from_yaml(&with_baseline(&set)).unwrap();
    let objects = desired(&policy, NAMESPACE, RuntimeMode::FullEnv);
    let limits = objects.iter().find(|desired| desired.kind == BaselineKind::LimitRange).unwrap();
    assert_eq!(
        limits.object["spec"]["limits"][0],
        json!({"type": "Container", "default": {"cpu": "1500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "500m", "memory": "1Gi"}})
    );
}

#[test]
fn a_policy_with_an_impossible_baseline_is_refused() {
    for (baseline, problem) in [
        (
            "fullEnv: {access: none, limitRange: null, resourceQuota: {name: q, hard: {pods: many}}}",
            "baseline.fullEnv.resourceQuota.hard[pods]: \"many\"",
        ),
        (
            "slot: {access: none, limitRange: null, resourceQuota: {name: q, hard: {pods: '-1'}}}",
            "baseline.slot.resourceQuota.hard[pods]: found \"-1\"",
        ),
        (
            "codeOnly: {access: none, resourceQuota: null, limitRange: {name: l, default: {cpu: '1'}, defaultRequest: {cpu: '2'}}}",
            "baseline.codeOnly.limitRange.defaultRequest[cpu]: found \"2\", more than",
        ),
        (
            "candidate: {serviceAccount: a, role: a, roleBinding: a, rules: [], annotations: {codex-k8s.dev/x: y}}",
            "baseline.candidate.annotations[codex-k8s.dev/x]: found \"codex-k8s.dev/x\"; expected a key of another",
        ),
        (
            "candidate: {serviceAccount: a, role: a, roleBinding: a, rules: [], annotations: {example.com/x/y: z}}",
            "baseline.candidate.annotations[example.com/x/y]: found \"example.com/x/y\"; expected the key",
        ),
        (
            "readOnly: {serviceAccount: a, role: a, roleBinding: a, rules: [], imagePullSecrets: [a, B]}",
            "baseline.readOnly.imagePullSecrets[1]: found \"B\"; expected the name of a Secret",
        ),
    ] {
        let error = RunPolicy::from_yaml(&with_baseline(baseline)).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
}

#[test]
fn half_a_baseline_is_refused() {
    for (baseline, missing) in [
        ("fullEnv: {resourceQuota: null, limitRange: null}", "access"),
        ("slot: {access: none, resourceQuota: null}", "limitRange"),
    ] {
        let error = RunPolicy::from_yaml(&with_baseline(baseline)).unwrap_err().to_string();
        assert!(error.contains("missing field") && error.contains(missing), "{error}");
    }
}

fn with_baseline(baseline: &str) -> String {
    format!("apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nbaseline:\n  {baseline}\n")
}

proptest! {
    #[test]
    fn desired_is_deterministic_and_differs_from_nothing_of_its_own(
        name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", full in any::<bool>(),
    ) {
        let mode = if full { RuntimeMode::FullEnv } else { RuntimeMode::CodeOnly };
        let (one, two) = (desired(&RunPolicy::default(), &name, mode), desired(&RunPolicy::default(), &name, mode));
        prop_assert_eq!(hash(&one), hash(&two));
        for desired in &one {
            prop_assert_eq!(desired.differences(&desired.object), []);
        }
        prop_assert_eq!(one, two);
    }
}

#[test]
fn baseline_names_are_those_of_both_profiles_and_of_every_set() {
    let policy = RunPolicy::default();
    let names = |kind| {
        let mut names: Vec<_> = names(&policy, kind).collect();
        names.dedup();
        names
    };
    for kind in [K::ServiceAccount, K::Role, K::RoleBinding] {
        assert_eq!(names(kind), ["codex-runner", "codex-runner-readonly"]);
    }
    assert_eq!(names(K::ResourceQuota), ["codex-run-quota"]);
    assert_eq!(names(K::LimitRange), ["codex-run-limits"]);
}

#[test]
fn an_object_of_a_profile_is_desired_as_the_profile_has_it_even_where_the_set_has_another() {
    let policy = RunPolicy::default();
    let desired_object = |namespace: &str, kind, name: &str| {
        desired_object(&policy, namespace, RuntimeMode::FullEnv, kind, name)
    };
    let role = desired_object(NAMESPACE, K::Role, "codex-runner-readonly").unwrap();
    assert_eq!(role.object["rules"], serde_json::to_value(&policy.baseline.read_only.rules).unwrap());
    let binding = desired_object(NAMESPACE, K::RoleBinding, "codex-runner-readonly").unwrap();
    assert_eq!(binding.object["roleRef"]["name"], "codex-runner-readonly");
    let quota = desired_object("codex-k8s-dev-1", K::ResourceQuota, "codex-run-quota").unwrap();
    assert_eq!(quota.object["spec"]["hard"], json!({"pods": "20"}), "the set of slots");
    assert_eq!(desired_object("codex-k8s-dev-1", K::LimitRange, "codex-run-limits"), None, "slots have none");
    assert_eq!(desired_object(NAMESPACE, K::Role, "another"), None);
}

#[test]
fn without_access_no_role_may_grant_anything() {
    let policy = RunPolicy::default();
    assert_eq!(maximum(&policy, RuntimeMode::CodeOnly, false).len(), 0);
    let both = policy.baseline.candidate.rules.len() + policy.baseline.read_only.rules.len();
    assert_eq!(maximum(&policy, RuntimeMode::FullEnv, false).len(), both);
    assert_eq!(maximum(&policy, RuntimeMode::CodeOnly, true).len(), both, "slots");
}

#[test]
fn a_change_is_what_a_writer_changed_and_not_what_the_api_server_keeps() {
    let before = json!({"metadata": {"name": "q", "resourceVersion": "1", "labels": {"a.b": "c"}},
        "spec": {"hard": {"pods": "20", "cpu": "1"}}, "status": {"hard": {}}});
    let mut after = before.clone();
    after["metadata"]["resourceVersion"] = "2".into();
    after["metadata"]["managedFields"] = json!([{"manager": "m"}]);
    after["metadata"]["annotations"] = json!({});
    after["status"] = json!({"hard": {"pods": "20"}});
    after["spec"]["hard"]["cpu"] = "1000m".into();
    assert_eq!(changes(&before, &after), []);
    after["metadata"]["labels"] = json!(null);
    after["spec"]["hard"]["pods"] = "2000".into();
    after["secrets"] = json!([{"name": "s"}]);
    let found: Vec<_> =
        changes(&before, &after).into_iter().map(|change| (change.path, change.found)).collect();
    let pair = |path: &str, found: &str| (path.to_owned(), found.to_owned());
    assert_eq!(
        found,
        [
            pair("metadata.labels", "nothing"),
            pair("spec.hard.pods", "\"2000\""),
            pair("secrets", r#"[{"name":"s"}]"#),
        ]
    );
}

#[test]
fn every_change_has_a_path_also_of_keys_that_a_path_cannot_hold() {
    let after = json!({"": 1, "a.b": 2, "c": {"": 3, "d": 4}});
    let changed: Vec<_> =
        changes(&json!({"c": {"e": 5}}), &after).into_iter().map(|change| change.path).collect();
    assert_eq!(changed, ["c.e", "c[\"\"]", "c.d", "[\"\"]", "[\"a.b\"]"]);
}
