use std::collections::BTreeSet;

use codex_k8s_shared::policy::{API_VERSION, KIND, Profile};
use serde_json::json;

use super::settings::Words;
use super::*;

/// A policy in which nothing is left out that can be.
const FULL: &str = "
identities: {breakGlass: {users: [jane], groups: [rescuers]}}
namespaces: {allowedFinalizers: [example.dev/a], allowedOwners: [v1/Namespace]}
lease: {ttlByRole: {dev: 48h}}
baseline:
  slot: {access: candidate, resourceQuota: {name: q, hard: {pods: '20'}}, limitRange: {name: l, default: {cpu: '1'}, defaultRequest: {cpu: 500m}}}
jobs: {priorityClasses: [low], runtimeClasses: [gvisor]}
cleanup:
  retention:
    fullEnv: {succeeded: &both {afterLease: 1h, afterFinish: 2h}, failed: *both, canceled: *both}
    codeOnly: {succeeded: *both, failed: *both, canceled: *both}
rbac: {roles: [reader], clusterRoles: [view], subjects: {users: [jane], groups: [readers]}}
quotas:
  perProject: {max: 5, overrides: {p1: 7}}
  perRequester: {max: 3}
  agentJobsPerProject: {max: 5, overrides: {p1: 7}}
";

fn policy(body: &str) -> RunPolicy {
    RunPolicy::from_yaml(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{body}")).unwrap()
}

fn changed(old: &str, new: &str) -> Vec<Change> {
    diff(&policy(old), &policy(new)).changes
}

/// The paths of the leaves of a schema, and of sections that may be absent; `*` for any key of a map.
fn leaves(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let schema = resolved(schema);
    if let Some(either) = schema["anyOf"].as_array() {
        assert_eq!((either.len(), &either[1]["type"]), (2, &json!("null")), "{path}");
        found.insert(path.to_owned());
        leaves(root, &either[0], path, found);
    } else if let Some(properties) = schema["properties"].as_object() {
        properties.iter().for_each(|(key, schema)| leaves(root, schema, &at(key), found));
    } else if schema["additionalProperties"].is_object() {
        leaves(root, &schema["additionalProperties"], &at("*"), found);
    } else {
        found.insert(path.to_owned());
    }
}

/// The paths that a setting's path stands for.
fn spelt_out(path: &str) -> Vec<String> {
    path.split('.').fold(vec![String::new()], |paths, step| {
        let with = |path: &String| {
            step.split('|')
                .map(|one| if path.is_empty() { one.to_owned() } else { format!("{path}.{one}") })
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(with).collect()
    })
}

#[test]
fn the_settings_are_those_of_the_schema_each_once() {
    let schema = serde_json::to_value(RunPolicy::json_schema()).unwrap();
    let mut expected = BTreeSet::new();
    leaves(&schema, &schema, "", &mut expected);
    // They have one value each.
    assert!(expected.remove("apiVersion") && expected.remove("kind"));
    let told: Vec<_> = settings::all().flat_map(|setting| spelt_out(setting.path)).collect();
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(told.len(), expected.len(), "some setting is there twice");
}

#[test]
fn the_rules_of_the_settings_exist() {
    let exists = |id: &str| match id.strip_suffix('*') {
        Some(beginning) => catalogue::all().any(|rule| rule.id.starts_with(beginning)),
        None => catalogue::find(id).is_some(),
    };
    for setting in settings::all() {
        for id in setting.rules {
            assert!(exists(id), "{}: {id}", setting.path);
        }
        let collectors = setting.path.starts_with("cleanup.") || setting.path == "rules.*";
        let unused = ["jobs.parallelism.default", "jobs.completions.default"].contains(&setting.path);
        assert!(!setting.rules.is_empty() || collectors || unused, "{}", setting.path);
    }
}

/// The leaves of a value, as pointers; lists are leaves.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, &format!("{pointer}/{key}"), found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

/// The policy with another value at a pointer: the first of several that a policy may have there.
fn with_another(whole: &Value, pointer: &str) -> RunPolicy {
    let value = whole.pointer(pointer).unwrap();
    let others = match value {
        Value::Number(number) => {
            vec![json!(number.as_i64().unwrap() - 1), json!(number.as_i64().unwrap() + 1)]
        }
        Value::Bool(is) => vec![json!(!is)],
        Value::Array(items) if items.is_empty() => vec![json!(["other"])],
        Value::Array(items) => vec![json!(items[1..])],
        _ => [
            "37m0s",
            "other",
            "age",
            "finished",
            "believe",
            "managers",
            "restricted",
            "privileged",
            "candidate",
            "none",
            "warn",
            "off",
        ]
        .map(Value::from)
        .into(),
    };
    let policy = others.into_iter().filter(|other| other != value).find_map(|other| {
        let mut whole = whole.clone();
        *whole.pointer_mut(pointer).unwrap() = other;
        serde_json::from_value(whole).ok()
    });
    policy.unwrap_or_else(|| panic!("{pointer}: {value}"))
}

#[test]
fn a_change_of_any_setting_is_told_at_its_path_in_words_and_by_rule() {
    let full = policy(FULL);
    let whole = written_out(&full);
    let mut all = Vec::new();
    pointers(&whole, "", &mut all);
    all.retain(|pointer| !["/apiVersion", "/kind"].contains(&&**pointer));
    let mut settings_told = BTreeSet::new();
    for pointer in all {
        let changes = diff(&full, &with_another(&whole, &pointer)).changes;
        let [change] = changes.as_slice() else { panic!("{pointer}: {changes:?}") };
        let keys: Vec<_> = pointer.split('/').skip(1).collect();
        assert_eq!(change.path, keys.iter().fold(String::new(), |path, key| joined(&path, key)));
        assert!(
            !change.means.is_empty() && !change.means.contains(['{', '}']),
            "{pointer}: {}",
            change.means
        );
        assert!(change.old != change.new, "{pointer}");
        let (setting, _) = settings::find(&keys).unwrap();
        settings_told.insert(setting.path);
        let rules: Vec<_> = change.rules.iter().map(|rule| rule.id).collect();
        assert!(
            rules.iter().all(|id| catalogue::find(id).is_some_and(|rule| setting.concerns(rule.id, &keys)))
        );
        match setting.words {
            Words::Mode => assert_eq!(rules, [keys[1]]),
            _ => assert_eq!(rules.is_empty(), setting.rules.is_empty(), "{pointer}"),
        }
    }
    // The others are sections that are there in the full policy.
    let sections: Vec<_> =
        settings::all().map(|setting| setting.path).filter(|path| !settings_told.contains(path)).collect();
    assert_eq!(
        sections,
        [
            "quotas.cluster",
            "quotas.perProject",
            "quotas.perRequester",
            "quotas.agentJobsPerProject",
            "baseline.fullEnv|codeOnly|slot.resourceQuota",
            "baseline.fullEnv|codeOnly|slot.limitRange",
        ]
    );
}

#[test]
fn equal_policies_do_not_differ_however_they_are_written() {
    assert_eq!(changed("", "lease: {defaultTtl: 1440m}\nrules: {NS001: enforce}\n"), []);
}

#[test]
fn what_a_change_means_is_told_with_the_old_value_and_which_way_it_goes() {
    use Effect::{Narrows, Widens};
    for (old, new, path, means, effect) in [
        (
            "",
            "lease: {defaultTtl: 12h}",
            "lease.defaultTtl",
            "leases of runs whose role has no time of its own end after 12h instead of 24h",
            Some(Narrows),
        ),
        (
            "",
            "lease: {ttlByRole: {qa: 90m}}",
            "lease.ttlByRole.qa",
            "leases of runs of the role qa end after 1h30m",
            None,
        ),
        (
            "lease: {ttlByRole: {qa: 1h}}",
            "",
            "lease.ttlByRole.qa",
            "leases of runs of the role qa end after lease.defaultTtl, as others do",
            None,
        ),
        ("", "lease: {minTtl: 1m}", "lease.minTtl", "a lease is for 1m instead of 5m at least", Some(Widens)),
        (
            "",
            "rules: {JOB018: warn}",
            "rules.JOB018",
            "what breaks it (A workload stays out of the host's namespaces and ports) is only warned about instead of refused",
            Some(Widens),
        ),
        (
            "rules: {JOB022: audit}",
            "",
            "rules.JOB022",
            "what breaks it (Secrets are not written into the environment as literals) is only warned about instead of only written down",
            Some(Narrows),
        ),
        (
            "",
            "quotas: {cluster: null}",
            "quotas.cluster",
            "nothing limits how many run namespaces work at once in the cluster",
            Some(Widens),
        ),
        (
            "quotas: {perRequester: null}",
            "quotas: {perRequester: {max: 3}}",
            "quotas.perRequester",
            "the run namespaces of a user that work at once are limited, except for managers",
            Some(Narrows),
        ),
        (
            "",
            "jobs: {tolerations: []}",
            "jobs.tolerations",
            "taints that a workload may tolerate: no longer node.kubernetes.io/not-ready:NoExecute, node.kubernetes.io/unreachable:NoExecute",
            Some(Narrows),
        ),
        (
            "",
            "jobs: {serviceAccounts: {fullEnv: [default, codex-runner, codex-runner-readonly]}}",
            "jobs.serviceAccounts.fullEnv",
            "ServiceAccounts that workloads of full-env runs may be: the same in another order; workloads that name none are default instead of codex-runner",
            None,
        ),
        (
            "",
            "cleanup: {retention: {codeOnly: {canceled: {afterLease: 48h}}}}",
            "cleanup.retention.codeOnly.canceled.afterLease",
            "code-only namespaces whose run was canceled stay for 48h beyond the end of their lease",
            None,
        ),
    ] {
        let changes = changed(old, new);
        let [change] = changes.as_slice() else { panic!("{new}: {changes:?}") };
        assert_eq!((change.path.as_str(), change.means.as_str(), change.effect), (path, means, effect));
    }
}

#[test]
fn what_the_api_server_is_told_of_the_policy_is_to_be_applied_again() {
    let registration = |new: &str| diff(&policy(""), &policy(new)).registration;
    assert!(registration("namespaces: {prefixes: [other]}"));
    assert!(registration("quotas: {agentJobsPerProject: {max: 1}}"));
    assert!(!registration("lease: {defaultTtl: 1h}\nrules: {JOB018: warn}"));
}

#[test]
fn quotas_are_compared_as_quantities_and_without_one_there_is_no_bound() {
    let set = |hard: &str| {
        format!(
            "baseline: {{fullEnv: {{access: candidate, resourceQuota: {{name: q, hard: {hard}}}, limitRange: null}}}}"
        )
    };
    let effect = |old: &str, new: &str| changed(&set(old), &set(new))[0].effect;
    assert_eq!(effect("{requests.memory: 900Mi}", "{requests.memory: 1Gi}"), Some(Effect::Widens));
    assert_eq!(effect("{requests.cpu: '1'}", "{requests.cpu: 500m}"), Some(Effect::Narrows));
    assert_eq!(effect("{requests.cpu: '1'}", "{requests.cpu: 1000m}"), None);
    assert_eq!(effect("{pods: '1'}", "{}"), Some(Effect::Widens));
    assert_eq!(effect("{}", "{pods: '1'}"), Some(Effect::Narrows));
    assert_eq!(
        changed(&set("{}"), &set("{limits.cpu: '1'}"))[0].path,
        "baseline.fullEnv.resourceQuota.hard[\"limits.cpu\"]"
    );
}

#[test]
fn rights_are_compared_by_what_they_allow() {
    let with = |rules: &str| {
        format!("baseline: {{candidate: {{serviceAccount: r, role: r, roleBinding: r, rules: {rules}}}}}")
    };
    let effect = |old: &str, new: &str| changed(&with(old), &with(new))[0].effect;
    let (get, all) = (
        "[{apiGroups: [''], resources: [pods], verbs: [get]}]",
        "[{apiGroups: [''], resources: [pods], verbs: ['*']}]",
    );
    assert_eq!(effect(get, all), Some(Effect::Widens));
    assert_eq!(effect(all, get), Some(Effect::Narrows));
    assert_eq!(effect(get, "[{apiGroups: [''], resources: [jobs], verbs: [get]}]"), None);
    assert_eq!(
        changed(&with(get), &with(all))[0].means,
        "what the profile candidate grants agents, and at most any Role beside it: now also * on pods; no longer get on pods"
    );
}

#[test]
fn from_a_to_b_agents_may_do_more_and_less_is_counted() {
    let changes = diff(&RunPolicy::of(Profile::A), &RunPolicy::of(Profile::B)).changes;
    let widens = |path: &str| changes.iter().find(|change| change.path == path).unwrap().effect;
    for path in
        ["baseline.candidate.rules", "baseline.codeOnly.resourceQuota", "jobs.activeDeadlineSeconds.default"]
    {
        assert_eq!(widens(path), Some(Effect::Widens), "{path}");
    }
    assert!(changes.iter().all(|change| change.effect != Some(Effect::Narrows)), "{changes:?}");
}
