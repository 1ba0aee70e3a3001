//! The environment variables of the platform's worker (contract.md, sections 2 to 6), read into a policy.

use std::collections::BTreeMap;

use serde_json::Value;

use super::baseline::is_subdomain;
use super::settings::is_dns_label;
use super::{Profile, RunPolicy};
use crate::quota::quantity::Quantity;
use crate::sanitize::sanitize_dns;

/// A policy that was read from the variables of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct FromWorker {
    /// The policy.
    pub policy: RunPolicy,
    /// The variables that the policy does not express, each with the reason.
    pub warnings: Vec<String>,
}

/// The prefix of the names of the worker's variables.
const PREFIX: &str = "CODEXK8S_WORKER_";

/// A variable of the worker.
struct Variable {
    name: &'static str,
    /// The settings that it sets, as paths of the policy: `*` is every field, `-` a new item of a list.
    settings: &'static [&'static str],
    form: Form,
    /// True if only the worker of release B reads it.
    only_at_b: bool,
}

/// The form of a value, and its use.
#[derive(Clone, Copy)]
enum Form {
    /// The name of an object.
    Name,
    /// The name of a namespace, or the namespace in the name of a ServiceAccount.
    Namespace,
    /// The prefix of names of namespaces.
    Prefix,
    /// A quantity of a resource.
    Quantity,
    /// The number of a Job's field, with its lowest value. Its maximum is raised if it is higher.
    Bounds(i64),
    /// A count of at least 1.
    Count,
    /// True or false.
    Flag,
    /// A variable that a policy does not express, with the reason.
    None(&'static str),
}

const fn variable(name: &'static str, form: Form, settings: &'static [&'static str]) -> Variable {
    Variable { name, settings, form, only_at_b: false }
}

const fn at_b(name: &'static str, form: Form, settings: &'static [&'static str]) -> Variable {
    Variable { name, settings, form, only_at_b: true }
}

const fn none(name: &'static str, reason: &'static str) -> Variable {
    variable(name, Form::None(reason), &[])
}

const NO_IMAGES: &str = "images and commands are not limited";
const NO_FILE: &str =
    "copy defaultNamespaceTTL and namespaceTTLByRole of the file to lease.defaultTtl and lease.ttlByRole";
const NO_NAME: &str = "audit rows have the name of the collector instead";
const SCHEDULE: &str = "set gc.schedule of the chart";
const SUSPEND: &str = "set gc.disabled of the chart, or cleanup.enabled";
const NO_CRON: &str = "the chart has a value of its own for its CronJob";

/// All variables that the contract names.
const VARIABLES: &[Variable] = &[
    variable("CODEXK8S_WORKER_RUN_NAMESPACE_PREFIX", Form::Prefix, &["namespaces/prefixes/0"]),
    variable(
        "CODEXK8S_WORKER_K8S_NAMESPACE",
        Form::Namespace,
        &["namespaces/platform/0", "identities/managers/users/0", "identities/managers/users/1"],
    ),
    variable(
        "CODEXK8S_PRODUCTION_NAMESPACE",
        Form::Namespace,
        &["namespaces/platform/1", "identities/managers/users/2", "identities/managers/users/3"],
    ),
    at_b("CODEXK8S_WORKER_AI_REPAIR_NAMESPACE", Form::Namespace, &["namespaces/platform/-"]),
    variable(
        "CODEXK8S_WORKER_RUN_SERVICE_ACCOUNT",
        Form::Name,
        &["baseline/candidate/serviceAccount", "jobs/serviceAccounts/fullEnv/0"],
    ),
    variable("CODEXK8S_WORKER_RUN_ROLE_NAME", Form::Name, &["baseline/candidate/role"]),
    variable("CODEXK8S_WORKER_RUN_ROLE_BINDING_NAME", Form::Name, &["baseline/candidate/roleBinding"]),
    at_b(
        "CODEXK8S_WORKER_RUN_READONLY_SERVICE_ACCOUNT",
        Form::Name,
        &["baseline/readOnly/serviceAccount", "jobs/serviceAccounts/fullEnv/1"],
    ),
    at_b("CODEXK8S_WORKER_RUN_READONLY_ROLE_NAME", Form::Name, &["baseline/readOnly/role"]),
    at_b("CODEXK8S_WORKER_RUN_READONLY_ROLE_BINDING_NAME", Form::Name, &["baseline/readOnly/roleBinding"]),
    variable("CODEXK8S_WORKER_RUN_RESOURCE_QUOTA_NAME", Form::Name, &["baseline/*/resourceQuota/name"]),
    variable("CODEXK8S_WORKER_RUN_QUOTA_PODS", Form::Quantity, &["baseline/*/resourceQuota/hard/pods"]),
    variable(
        "CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_CPU",
        Form::Quantity,
        &["baseline/*/resourceQuota/hard/requests.cpu"],
    ),
    variable(
        "CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_MEMORY",
        Form::Quantity,
        &["baseline/*/resourceQuota/hard/requests.memory"],
    ),
    variable(
        "CODEXK8S_WORKER_RUN_QUOTA_LIMITS_CPU",
        Form::Quantity,
        &["baseline/*/resourceQuota/hard/limits.cpu"],
    ),
    variable(
        "CODEXK8S_WORKER_RUN_QUOTA_LIMITS_MEMORY",
        Form::Quantity,
        &["baseline/*/resourceQuota/hard/limits.memory"],
    ),
    variable("CODEXK8S_WORKER_RUN_LIMIT_RANGE_NAME", Form::Name, &["baseline/*/limitRange/name"]),
    variable(
        "CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_CPU",
        Form::Quantity,
        &["baseline/*/limitRange/defaultRequest/cpu"],
    ),
    variable(
        "CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_MEMORY",
        Form::Quantity,
        &["baseline/*/limitRange/defaultRequest/memory"],
    ),
    variable("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_CPU", Form::Quantity, &["baseline/*/limitRange/default/cpu"]),
    variable(
        "CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_MEMORY",
        Form::Quantity,
        &["baseline/*/limitRange/default/memory"],
    ),
    variable("CODEXK8S_WORKER_JOB_ACTIVE_DEADLINE_SECONDS", Form::Bounds(1), &["jobs/activeDeadlineSeconds"]),
    variable("CODEXK8S_WORKER_JOB_TTL_SECONDS", Form::Bounds(0), &["jobs/ttlSecondsAfterFinished"]),
    variable("CODEXK8S_WORKER_JOB_BACKOFF_LIMIT", Form::Bounds(0), &["jobs/backoffLimit"]),
    variable("CODEXK8S_WORKER_RUN_NAMESPACE_CLEANUP", Form::Flag, &["cleanup/enabled"]),
    at_b("CODEXK8S_WORKER_NAMESPACE_LEASE_SWEEP_LIMIT", Form::Count, &["cleanup/breaker/maxDeletions"]),
    none("CODEXK8S_SERVICES_CONFIG_PATH", NO_FILE),
    none("CODEXK8S_SERVICES_CONFIG_ENV", NO_FILE),
    none(
        "CODEXK8S_WORKER_SLOTS_PER_PROJECT",
        "the platform limits its slots; quotas.perProject limits the run namespaces of a project",
    ),
    none("CODEXK8S_WORKER_RUN_CREDENTIALS_SECRET_NAME", "the worker does not use it either"),
    none("CODEXK8S_WORKER_JOB_IMAGE", NO_IMAGES),
    none("CODEXK8S_WORKER_JOB_IMAGE_FALLBACK", NO_IMAGES),
    none("CODEXK8S_WORKER_JOB_COMMAND", NO_IMAGES),
    none(
        "CODEXK8S_WORKER_AI_REPAIR_SERVICE_ACCOUNT",
        "its Pods run in a platform namespace, whose workloads are not changed",
    ),
    none("CODEXK8S_WORKER_ID", NO_NAME),
    none("CODEXK8S_WORKER_MODE", "codex-k8s-guard sweep replaces the mode namespace_cleanup_once"),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_SCHEDULE", SCHEDULE),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_SUSPEND", SUSPEND),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_STARTING_DEADLINE_SECONDS", NO_CRON),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_SUCCESS_HISTORY_LIMIT", NO_CRON),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_FAILED_HISTORY_LIMIT", NO_CRON),
    none("CODEXK8S_WORKER_NAMESPACE_CLEANUP_CRON_ACTIVE_DEADLINE_SECONDS", NO_CRON),
];

/// Returns true for the names of the worker's own variables, known or not.
pub fn is_of_worker(name: &str) -> bool {
    name.starts_with(PREFIX) || VARIABLES.iter().any(|variable| variable.name == name)
}

impl RunPolicy {
    /// The policy whose effect is that of a worker with these variables. The worker reads an empty variable as an
    /// absent one, and so does this function. Variables of other programs are ignored.
    ///
    /// # Errors
    /// The variables whose values are invalid, each with the value and the fix.
    pub fn of_worker(
        profile: Profile,
        variables: &BTreeMap<String, String>,
    ) -> Result<FromWorker, Vec<String>> {
        let found: Vec<_> = VARIABLES
            .iter()
            .filter_map(|variable| Some((variable, variables.get(variable.name)?.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let (policy, mut warnings) = read(profile, &found)?;
        let unknown =
            |name: &&String| is_of_worker(name) && !VARIABLES.iter().any(|known| known.name == **name);
        warnings.extend(
            variables
                .keys()
                .filter(unknown)
                .map(|name| format!("{name}: not a known variable of the worker")),
        );
        match policy.check() {
            Ok(()) => Ok(FromWorker { policy, warnings }),
            Err(error) => Err(contradictions(profile, &found, &error.to_string())),
        }
    }
}

type Found<'a> = (&'static Variable, &'a str);

/// The variables without which the policy would be valid; all of them if there are none.
fn contradictions(profile: Profile, found: &[Found<'_>], problem: &str) -> Vec<String> {
    let is_cause = |index: usize| {
        let others: Vec<_> =
            found.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, one)| *one).collect();
        read(profile, &others).is_ok_and(|(policy, _)| policy.check().is_ok())
    };
    let line =
        |(variable, value): &Found<'_>| format!("{}: Invalid value: {value:?}: {problem}", variable.name);
    let causes: Vec<_> =
        found.iter().enumerate().filter(|(index, _)| is_cause(*index)).map(|(_, one)| line(one)).collect();
    if causes.is_empty() { found.iter().map(line).collect() } else { causes }
}

/// Sets the settings of the variables that were found.
fn read(profile: Profile, found: &[Found<'_>]) -> Result<(RunPolicy, Vec<String>), Vec<String>> {
    let mut policy = serde_json::to_value(RunPolicy::of(profile)).map_err(|error| vec![error.to_string()])?;
    let (mut warnings, mut problems) = (Vec::new(), Vec::new());
    for (variable, value) in found {
        let name = variable.name;
        if let Form::None(reason) = variable.form {
            warnings.push(format!("{name}: not a setting of the policy: {reason}"));
        } else if variable.only_at_b && profile == Profile::A {
            warnings.push(format!("{name}: ignored: only release B reads it; use --profile b"));
        } else {
            match set_all(&mut policy, variable, value) {
                Ok(notes) => warnings.extend(notes),
                Err(fix) => problems.push(format!("{name}: Invalid value: {value:?}: {fix}")),
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for list in ["/namespaces/platform", "/namespaces/prefixes", "/identities/managers/users"] {
        policy.pointer_mut(list).and_then(Value::as_array_mut).map(remove_duplicates);
    }
    let mut policy: RunPolicy = serde_json::from_value(policy).map_err(|error| vec![error.to_string()])?;
    policy.quotas.managers.clone_from(&policy.identities.managers.users);
    Ok((policy, warnings))
}

/// Sets the settings of one variable. Returns warnings, or the form that the value must have.
fn set_all(policy: &mut Value, variable: &Variable, value: &str) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    let new = parse(variable.form, value)?;
    let mut exists = false;
    for path in variable.settings {
        let segments: Vec<_> = path.split('/').collect();
        exists |= set(policy, &segments, &mut |old| match variable.form {
            Form::Bounds(_) => {
                let max = old.get("max").and_then(Value::as_i64).unwrap_or_default();
                if new.as_i64().is_some_and(|new| new > max) {
                    notes.push(format!("{}: raises {}.max from {max} to {new}", variable.name, dotted(path)));
                    old["max"] = new.clone();
                }
                old["default"] = new.clone();
            }
            Form::Namespace => *old = within(old, value),
            _ => *old = new.clone(),
        });
    }
    if !exists {
        let settings: Vec<_> = variable.settings.iter().map(|path| dotted(path)).collect();
        notes.push(format!("{}: ignored: this release has no {}", variable.name, settings.join(", ")));
    }
    Ok(notes)
}

/// Parses a value into that of a setting, or returns the form that it must have.
fn parse(form: Form, value: &str) -> Result<Value, String> {
    let number = |least: i64| {
        value
            .parse()
            .ok()
            .filter(|number| (least..=i64::from(i32::MAX)).contains(number))
            .ok_or_else(|| format!("must be a whole number from {least} to {}", i32::MAX))
    };
    match form {
        Form::Name | Form::Namespace if is_subdomain(value) => Ok(value.into()),
        Form::Name | Form::Namespace => {
            Err("must be the name of an object: lower-case letters, digits, '-' and '.'".to_owned())
        }
        Form::Prefix => {
            // The worker writes the names of namespaces with the prefix in this form.
            let prefix = sanitize_dns(value);
            let fix = "must be lower-case letters, digits and '-', 50 characters at most";
            if is_dns_label(&prefix) { Ok(prefix.into()) } else { Err(fix.to_owned()) }
        }
        Form::Quantity => match value.parse::<Quantity>() {
            Ok(quantity) if quantity >= Quantity::ZERO => Ok(value.into()),
            _ => Err("must be a quantity that is not negative, such as 20, 500m or 8Gi".to_owned()),
        },
        Form::Bounds(least) => number(least).map(Value::from),
        Form::Count => number(1).map(Value::from),
        // The values that Go parses.
        Form::Flag => match value {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false.into()),
            _ => Err("must be true or false".to_owned()),
        },
        Form::None(_) => Ok(Value::Null),
    }
}

/// Edits all values at a path. Returns false if there are none.
fn set(value: &mut Value, path: &[&str], edit: &mut impl FnMut(&mut Value)) -> bool {
    let Some((first, rest)) = path.split_first() else {
        edit(value);
        return true;
    };
    match (*first, value) {
        ("*", Value::Object(fields)) => {
            fields.values_mut().filter_map(|field| set(field, rest, edit).then_some(())).count() > 0
        }
        ("-", Value::Array(items)) => {
            let mut item = Value::Null;
            let exists = set(&mut item, rest, edit);
            items.push(item);
            exists
        }
        (index, Value::Array(items)) => {
            let item = index.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.is_some_and(|item| set(item, rest, edit))
        }
        (key, Value::Object(fields)) => fields.get_mut(key).is_some_and(|field| set(field, rest, edit)),
        _ => false,
    }
}

/// Puts a namespace into the user name of a ServiceAccount, or replaces a plain name.
fn within(old: &Value, namespace: &str) -> Value {
    let account = old.as_str().and_then(|user| user.strip_prefix("system:serviceaccount:")?.split_once(':'));
    account.map_or_else(
        || namespace.into(),
        |(_, name)| format!("system:serviceaccount:{namespace}:{name}").into(),
    )
}

fn remove_duplicates(items: &mut Vec<Value>) {
    let mut seen = Vec::new();
    items.retain(|item| {
        let is_new = !seen.contains(item);
        seen.push(item.clone());
        is_new
    });
}

/// The path of a setting as messages and documents show it.
fn dotted(path: &str) -> String {
    path.split('/').fold(String::new(), |text, segment| match segment {
        "-" => format!("{text}[]"),
        index if index.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}[{index}]"),
        key if key.contains('.') => format!("{text}[{key}]"),
        key if text.is_empty() => key.to_owned(),
        key => format!("{text}.{key}"),
    })
}

#[cfg(test)]
mod tests;
