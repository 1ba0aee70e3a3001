//! Properties of all decisions, for any object.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_webhook::review::Entry;
use codex_k8s_webhook::rules::{self, Facts, Kind};
use proptest::prelude::*;
use serde_json::Value;

use support::{
    WORKER, any_json, baseline_object, benign_namespace, benign_workload, creators, facts, kinds, modes,
    policies, request, users,
};

/// Returns the object after the mutating call.
fn mutated(
    policy: &RunPolicy,
    facts: &Facts,
    user: &str,
    kind: Kind,
    object: &Value,
) -> Result<Value, TestCaseError> {
    let request = request(user, kind, Some(object.clone()), None);
    let verdict = rules::decide(policy, facts, &request, Entry::Mutate);
    prop_assert!(verdict.findings.is_empty(), "the mutating call refuses nothing: {:?}", verdict.findings);
    let mut mutated = object.clone();
    json_patch::patch(&mut mutated, &verdict.patch)
        .map_err(|error| TestCaseError::fail(format!("{error}: {:?} of {object}", verdict.patch)))?;
    Ok(mutated)
}

fn is_mutated_once_and_then_admitted(
    policy: &RunPolicy,
    facts: &Facts,
    user: &str,
    kind: Kind,
    object: &Value,
) -> Result<(), TestCaseError> {
    let once = mutated(policy, facts, user, kind, object)?;
    let twice = mutated(policy, facts, user, kind, &once)?;
    prop_assert_eq!(&once, &twice, "mutate(mutate(x)) == mutate(x)");
    let request = request(user, kind, Some(once.clone()), None);
    let verdict = rules::decide(policy, facts, &request, Entry::Validate);
    prop_assert!(verdict.is_allowed(), "{:?}\nof {}", verdict.findings, once);
    prop_assert!(verdict.patch.0.is_empty(), "the validating call changes nothing");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_benign_namespace_is_mutated_once_and_then_admitted(object in benign_namespace(), user in creators()) {
        let facts = Facts { namespace: None, requester_is_managed: false, ..facts(RuntimeMode::FullEnv) };
        is_mutated_once_and_then_admitted(&RunPolicy::default(), &facts, user, Kind::Namespace, &object)?;
    }

    #[test]
    fn a_benign_workload_is_mutated_once_and_then_admitted(
        (mode, (kind, object)) in modes().prop_flat_map(|mode| (Just(mode), benign_workload(mode))),
        user in users(), policy in policies(),
    ) {
        is_mutated_once_and_then_admitted(&policy, &facts(mode), user, kind, &object)?;
    }

    #[test]
    fn whatever_a_manager_writes_under_a_baseline_name_is_mutated_once_and_then_admitted(
        (kind, object) in baseline_object(), mode in modes(),
    ) {
        is_mutated_once_and_then_admitted(&RunPolicy::default(), &facts(mode), WORKER, kind, &object)?;
    }

    #[test]
    fn mutating_any_object_settles_in_one_pass(
        object in any_json(), kind in kinds(), mode in modes(), user in users(), policy in policies(),
    ) {
        let facts = facts(mode);
        // A patch of an invalid object may not apply: the API server then rejects it. It must not panic.
        if let Ok(once) = mutated(&policy, &facts, user, kind, &object) {
            prop_assert_eq!(&mutated(&policy, &facts, user, kind, &once)?, &once);
        }
    }

    #[test]
    fn an_update_that_changes_nothing_is_never_refused(
        object in any_json(), kind in kinds(), mode in modes(), user in users(), policy in policies(),
    ) {
        let request = request(user, kind, Some(object.clone()), Some(object));
        let verdict = rules::decide(&policy, &facts(mode), &request, Entry::Validate);
        prop_assert!(verdict.is_allowed(), "{:?}", verdict.findings);
        prop_assert!(verdict.patch.0.is_empty());
    }

    #[test]
    fn any_change_is_decided(
        object in prop::option::of(any_json()), old in prop::option::of(any_json()),
        kind in kinds(), mode in modes(), user in users(), policy in policies(), validate in any::<bool>(),
        subresource in prop::sample::select(vec![None, Some("status"), Some("finalize"), Some("ephemeralcontainers")]),
    ) {
        let entry = if validate { Entry::Validate } else { Entry::Mutate };
        let mut request = request(user, kind, object, old);
        request.subresource = subresource;
        let verdict = rules::decide(&policy, &facts(mode), &request, entry);
        for finding in &verdict.findings {
            prop_assert!(verdict.evaluated.iter().any(|rule| rule.id == finding.rule.id), "{finding} was not evaluated");
            prop_assert!(!finding.path.is_empty() && !finding.found.is_empty() && !finding.remedy.is_empty());
            prop_assert!(!finding.to_string().contains(|character: char| character.is_control()), "{finding}");
        }
    }
}
