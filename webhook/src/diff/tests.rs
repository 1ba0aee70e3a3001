use std::collections::BTreeSet;

use codex_k8s_shared::policy::{API_VERSION, KIND};
use serde_json::json;

use super::*;

/// A policy that contains every optional setting.
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

/// The settings that no rule reads, and the reason.
const READ_BY_NO_RULE: &[(&str, &str)] = &[
    ("auditStore.jobs", "the reconciler"),
    ("auditStore.pruneInterval", "the garbage collector"),
    ("auditStore.retention", "the garbage collector"),
    ("cleanup.enabled", "the garbage collector"),
    ("cleanup.grace", "the garbage collector"),
    ("cleanup.workGrace", "the garbage collector"),
    ("cleanup.unknownRun", "the garbage collector"),
    ("cleanup.unverifiedOrigin", "the garbage collector"),
    ("cleanup.retention.*.*.afterLease", "the garbage collector"),
    ("cleanup.breaker", "the garbage collector"),
    ("cleanup.concurrency", "the garbage collector"),
    ("cleanup.waitForGone", "the garbage collector"),
    ("denials.rulesUrl", "the text of denials"),
];

fn policy(body: &str) -> RunPolicy {
    RunPolicy::from_yaml(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{body}")).unwrap()
}

fn changed(old: &str, new: &str) -> Vec<Change> {
    diff(&policy(old), &policy(new)).changes
}

/// Collects the paths of the settings in a schema: leaves, and optional sections; `*` for any key of a map.
fn settings(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let schema = resolved(schema);
    if let Some(either) = schema["anyOf"].as_array() {
        assert_eq!((either.len(), &either[1]["type"]), (2, &json!("null")), "{path}");
        found.insert(path.to_owned());
        settings(root, &either[0], path, found);
    } else if let Some(properties) = schema["properties"].as_object() {
        properties.iter().for_each(|(key, schema)| settings(root, schema, &at(key), found));
    } else if schema["additionalProperties"].is_object() {
        settings(root, &schema["additionalProperties"], &at("*"), found);
    } else {
        found.insert(path.to_owned());
    }
}

/// Returns every setting of a policy, except the modes of the rules.
fn all_settings() -> BTreeSet<String> {
    let schema = serde_json::to_value(RunPolicy::json_schema()).unwrap();
    let mut found = BTreeSet::new();
    settings(&schema, &schema, "", &mut found);
    // The first two have only one value, and a mode belongs to its rule.
    assert!(["apiVersion", "kind", "rules.*"].iter().all(|path| found.remove(*path)));
    found
}

/// Returns true if a path names a setting, or a section that contains it.
fn covers(path: &str, setting: &str) -> bool {
    let (steps, keys): (Vec<_>, Vec<_>) = (path.split('.').collect(), setting.split('.').collect());
    steps.len() <= keys.len() && steps.iter().zip(keys).all(|(step, key)| *step == "*" || *step == key)
}

#[test]
fn every_setting_that_a_rule_reads_is_in_the_schema() {
    let settings = all_settings();
    for rule in catalogue::all() {
        for path in rule.settings() {
            assert!(settings.iter().any(|setting| covers(path, setting)), "{}: {path}", rule.id);
        }
    }
}

#[test]
fn every_setting_is_read_by_a_rule_or_listed_with_who_reads_it_otherwise() {
    for setting in all_settings() {
        let keys: Vec<_> = setting.split('.').collect();
        let read = catalogue::all().any(|rule| rule.reads_setting(&keys));
        let listed = READ_BY_NO_RULE.iter().any(|(path, _)| covers(path, &setting));
        assert!(read != listed, "{setting}: read by a rule: {read}, listed: {listed}");
    }
}

/// Collects the pointers of the leaves of a value; lists are leaves.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let step = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{pointer}/{step}"), found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

/// Returns the policy with another value at a pointer: the first candidate that makes a valid policy.
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
            "useAge",
            "finished",
            "trustLabels",
            "managers",
            "restricted",
            "privileged",
            "candidate",
            "https://wiki.example.org/rules",
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
fn a_change_of_any_setting_is_reported_at_its_path_with_both_values_and_the_rules_that_read_it() {
    let full = policy(FULL);
    let whole = written_out(&full);
    let mut all = Vec::new();
    pointers(&whole, "", &mut all);
    all.retain(|pointer| !["/apiVersion", "/kind"].contains(&&**pointer));
    for pointer in all {
        let other = with_another(&whole, &pointer);
        let changes = diff(&full, &other).changes;
        let [change] = changes.as_slice() else { panic!("{pointer}: {changes:?}") };
        let steps: Vec<_> = pointer.split('/').skip(1).map(|step| step.replace("~1", "/")).collect();
        let keys: Vec<_> = steps.iter().map(String::as_str).collect();
        assert_eq!(change.path, keys.iter().fold(String::new(), |path, key| joined(&path, key)));
        let new = written_out(&other);
        assert_eq!((Some(&change.old), Some(&change.new)), (whole.pointer(&pointer), new.pointer(&pointer)));
        let readers: Vec<_> = catalogue::all().filter(|rule| rule.reads_setting(&keys)).collect();
        assert!(change.rules.iter().map(|rule| rule.id).eq(readers.iter().map(|rule| rule.id)), "{pointer}");
        if let ["rules", id] = keys[..] {
            assert_eq!(change.rules.iter().map(|rule| rule.id).collect::<Vec<_>>(), [id]);
        }
    }
}

/// Returns the ids of the rules that read the only setting that differs.
fn readers(new: &str) -> Vec<&'static str> {
    let changes = changed("", new);
    let [change] = changes.as_slice() else { panic!("{new}: {changes:?}") };
    change.rules.iter().map(|rule| rule.id).collect()
}

#[test]
fn a_rule_reads_a_setting_above_or_below_the_path_that_it_names() {
    assert_eq!(readers("jobs: {backoffLimit: {default: 1, max: 6}}"), ["JOB009"]);
    assert_eq!(readers("quotas: {agentJobsPerProject: {max: 5}}"), ["QUOTA004"]);
    assert_eq!(readers("quotas: {cluster: null}"), ["QUOTA003"]);
    assert!(
        readers("identities: {managers: {users: [worker]}}").contains(&"QUOTA003"),
        "managers are exempt"
    );
    assert_eq!(readers("lease: {ttlByRole: {qa: 90m}}"), ["NS015", "LEASE001"]);
    assert_eq!(
        readers("jobs: {serviceAccounts: {fullEnv: [default], codeOnly: [default]}}"),
        ["JOB004", "TOKEN002"]
    );
}

#[test]
fn who_passes_every_rule_and_which_namespaces_are_in_scope_is_read_by_all_of_them() {
    let all = catalogue::all().count();
    assert_eq!(readers("namespaces: {prefixes: [codex-issue]}").len(), all);
    assert_eq!(readers("identities: {breakGlass: {users: [jane], groups: []}}").len(), all);
}

#[test]
fn equal_policies_do_not_differ_however_they_are_written() {
    assert_eq!(changed("", "lease: {defaultTtl: 1440m}\nrules: {NS001: enforce}\n"), []);
}

#[test]
fn equal_quantities_do_not_differ_however_they_are_written() {
    let set = |hard: &str| {
        format!(
            "baseline: {{fullEnv: {{access: candidate, resourceQuota: {{name: q, hard: {hard}}}, limitRange: null}}}}"
        )
    };
    let changed = |old: &str, new: &str| changed(&set(old), &set(new));
    assert_eq!(changed("{requests.cpu: '1'}", "{requests.cpu: 1000m}"), []);
    assert_eq!(changed("{requests.memory: 1Gi}", "{requests.memory: 1024Mi}"), []);
    let differing = changed("{}", "{limits.cpu: '1'}");
    assert_eq!(differing[0].path, "baseline.fullEnv.resourceQuota.hard[\"limits.cpu\"]");
    assert_eq!((&differing[0].old, &differing[0].new), (&Value::Null, &json!("1")));
    assert_eq!(changed("{requests.memory: 900Mi}", "{requests.memory: 1Gi}").len(), 1);
}

#[test]
fn a_policy_of_which_the_api_server_knows_a_part_is_registered_again() {
    let registration = |new: &str| diff(&policy(""), &policy(new)).registration;
    assert!(registration("namespaces: {prefixes: [other]}"));
    assert!(registration("quotas: {agentJobsPerProject: {max: 1}}"));
    assert!(!registration("lease: {defaultTtl: 1h}\nrules: {JOB018: warn}"));
}
