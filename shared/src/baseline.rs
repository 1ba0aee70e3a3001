//! The objects that every run namespace must hold, and the differences between stored and desired ones.

mod account;
mod guarded;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::keys;
use crate::policy::{AccessProfile, BaselineSet, LimitSettings, QuotaSettings, RunPolicy};
use crate::quota::quantity::Quantity;
use crate::run::RuntimeMode;

pub use guarded::{desired_object, maximum, name_in_profile, names};

/// The kinds of baseline objects, in the order in which they are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaselineKind {
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1` Role.
    Role,
    /// `rbac.authorization.k8s.io/v1` RoleBinding.
    RoleBinding,
    /// `v1` ResourceQuota.
    ResourceQuota,
    /// `v1` LimitRange.
    LimitRange,
}

impl BaselineKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::ServiceAccount, Self::Role, Self::RoleBinding, Self::ResourceQuota, Self::LimitRange];

    /// The kind's name in Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ResourceQuota => "ResourceQuota",
            Self::LimitRange => "LimitRange",
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Role | Self::RoleBinding => "rbac.authorization.k8s.io",
            _ => "",
        }
    }

    /// The resource, as in the paths of the API.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::ResourceQuota => "resourcequotas",
            Self::LimitRange => "limitranges",
        }
    }

    /// The kind of an API group and name.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.group() == group && known.as_str() == kind)
    }

    /// The fields that are compared with the stored object.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::ServiceAccount => &["imagePullSecrets"],
            Self::Role => &["rules"],
            Self::RoleBinding => &["roleRef", "subjects"],
            Self::ResourceQuota | Self::LimitRange => &["spec"],
        }
    }
}

impl fmt::Display for BaselineKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A desired object.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The kind.
    pub kind: BaselineKind,
    /// The name.
    pub name: String,
    /// The whole object, with namespace and label.
    pub object: Value,
}

/// A field whose value is not the desired one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path of the field in the object.
    pub path: String,
    /// The actual value as JSON; `nothing` if it is absent.
    pub found: String,
    /// The desired value.
    pub desired: String,
}

impl Desired {
    /// The kind and the name.
    pub fn key(&self) -> (BaselineKind, String) {
        (self.kind, self.name.clone())
    }

    /// The differences of a stored object. Fields of other managers are ignored.
    pub fn differences(&self, stored: &Value) -> Vec<Difference> {
        let mut differences = Vec::new();
        let label = stored.pointer("/metadata/labels").and_then(|labels| labels.get(keys::MANAGED_BY));
        let path = format!("metadata.labels[\"{}\"]", keys::MANAGED_BY);
        compare(&path, Some(&keys::MANAGED_BY_VALUE.into()), label, &mut differences);
        if self.kind == BaselineKind::ServiceAccount {
            account::compare_with(self, stored, &mut differences);
            return differences;
        }
        for field in self.kind.fields() {
            compare(field, self.object.get(field), stored.get(field), &mut differences);
        }
        differences
    }

    /// The annotations that the object must have. It may have others.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.object.pointer("/metadata/annotations").and_then(Value::as_object);
        annotations.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The fields that are compared, with their values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.kind.fields().iter().filter_map(|field| Some((*field, self.object.get(field)?)))
    }
}

/// The baseline of a namespace, by its mode, and by whether it is a slot.
pub fn set_of(policy: &RunPolicy, mode: RuntimeMode, slot: bool) -> &BaselineSet {
    match (slot, mode) {
        (true, _) => &policy.baseline.slot,
        (false, RuntimeMode::FullEnv) => &policy.baseline.full_env,
        (false, RuntimeMode::CodeOnly) => &policy.baseline.code_only,
    }
}

/// The objects that a namespace must hold, in the order in which they are created.
pub fn desired(policy: &RunPolicy, namespace: &str, mode: RuntimeMode) -> Vec<Desired> {
    let set = set_of(policy, mode, policy.namespaces.is_slot(namespace));
    let mut objects = Vec::with_capacity(5);
    if let Some(profile) = policy.baseline.profile(set.access) {
        objects.extend(access(profile, namespace));
    }
    objects.extend(set.resource_quota.as_ref().map(|quota| resource_quota(quota, namespace)));
    objects.extend(set.limit_range.as_ref().map(|limits| limit_range(limits, namespace)));
    objects
}

/// The differences between two whole objects: `found` is from the second, `desired` from the first. The status, and
/// the fields that the API server sets itself, are ignored.
pub fn changes(before: &Value, after: &Value) -> Vec<Difference> {
    const OWNED_BY_SERVER: [&str; 3] = ["managedFields", "resourceVersion", "generation"];
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !OWNED_BY_SERVER.contains(&key.as_str()));
        }
        object
    };
    let mut differences = Vec::new();
    let (before, after) = (without(before), without(after));
    let (Some(desired), Some(found)) = (before.as_object(), after.as_object()) else {
        compare("object", Some(&before), Some(&after), &mut differences);
        return differences;
    };
    for key in desired.keys().chain(found.keys().filter(|key| !desired.contains_key(*key))) {
        compare(&joined("", key), desired.get(key), found.get(key), &mut differences);
    }
    differences
}

/// The first 16 hexadecimal digits of the SHA-256 of a baseline.
pub fn hash(objects: &[Desired]) -> String {
    use std::fmt::Write as _;
    let canonical: Vec<_> = objects.iter().map(|desired| desired.object.to_string()).collect();
    Sha256::digest(canonical.join("\n")).iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn object(kind: BaselineKind, name: &str, namespace: &str, body: Value) -> Desired {
    let api_version = if kind.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group()) };
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind.as_str(),
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {keys::MANAGED_BY: keys::MANAGED_BY_VALUE},
        },
    });
    if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
        object.extend(body);
    }
    Desired { kind, name: name.to_owned(), object }
}

fn access(profile: &AccessProfile, namespace: &str) -> [Desired; 3] {
    [
        account::account(profile, namespace),
        object(BaselineKind::Role, &profile.role, namespace, json!({"rules": profile.rules})),
        object(
            BaselineKind::RoleBinding,
            &profile.role_binding,
            namespace,
            json!({
                "subjects": [
                    {"kind": "ServiceAccount", "name": profile.service_account, "namespace": namespace},
                ],
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": profile.role,
                },
            }),
        ),
    ]
}

fn resource_quota(quota: &QuotaSettings, namespace: &str) -> Desired {
    object(
        BaselineKind::ResourceQuota,
        &quota.name,
        namespace,
        json!({"spec": {"hard": canonical(&quota.hard)}}),
    )
}

fn limit_range(limits: &LimitSettings, namespace: &str) -> Desired {
    // The API server defaults a missing request to the limit; the desired object must equal the stored one.
    let mut requests = limits.default.clone();
    requests.extend(limits.default_request.clone());
    let item = json!({
        "type": "Container",
        "default": canonical(&limits.default),
        "defaultRequest": canonical(&requests),
    });
    object(BaselineKind::LimitRange, &limits.name, namespace, json!({"spec": {"limits": [item]}}))
}

/// Quantities as the API server stores them.
fn canonical(quantities: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    let print =
        |text: &String| text.parse::<Quantity>().map_or_else(|_| text.clone(), |parsed| parsed.to_string());
    quantities.iter().map(|(resource, text)| (resource.as_str(), print(text))).collect()
}

fn compare(path: &str, desired: Option<&Value>, stored: Option<&Value>, differences: &mut Vec<Difference>) {
    let (desired, stored) =
        (desired.filter(|value| !is_empty(value)), stored.filter(|value| !is_empty(value)));
    match (desired, stored) {
        (Some(Value::Object(desired)), Some(Value::Object(stored))) => {
            for key in desired.keys().chain(stored.keys().filter(|key| !desired.contains_key(*key))) {
                compare(&joined(path, key), desired.get(key), stored.get(key), differences);
            }
        }
        (Some(Value::Array(desired)), Some(Value::Array(stored))) => {
            for index in 0..desired.len().max(stored.len()) {
                compare(&format!("{path}[{index}]"), desired.get(index), stored.get(index), differences);
            }
        }
        (desired, stored) if is_same(desired, stored) => {}
        (desired, stored) => {
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            let (found, desired) = (shown(stored), shown(desired));
            differences.push(Difference { path: path.to_owned(), found, desired });
        }
    }
}

/// The path of a field. A key that a path cannot contain is put in brackets, as is an empty one, which would
/// disappear otherwise.
pub fn joined(path: &str, key: &str) -> String {
    match (path, key) {
        (path, key) if key.is_empty() || key.contains('.') => format!("{path}[\"{key}\"]"),
        ("", key) => key.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn is_same(desired: Option<&Value>, stored: Option<&Value>) -> bool {
    let quantity = |value: Option<&Value>| value.and_then(Value::as_str)?.parse::<Quantity>().ok();
    desired == stored || quantity(desired).is_some_and(|desired| quantity(stored) == Some(desired))
}

#[cfg(test)]
mod tests;
