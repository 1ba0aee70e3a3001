//! Generated manifests, some of which an API server cannot read: values of the wrong type, and unknown fields.

use serde_json::{Value, json};

use super::corpus::{KINDS, changes, object, set};

/// Marks a text that is written without quotes, as YAML has more than one form of numbers and booleans.
const RAW: &str = "raw:";

/// The values that replace a number, a boolean and a text. For each type, some of them are of that type.
const NUMBERS: [&str; 9] =
    ["raw:010", "raw:0o7", "raw:1e2", "raw:3.0", "raw:1.5", "raw:0x1F", "raw:3000000000", "12", "raw:true"];
const BOOLEANS: [&str; 7] = ["raw:yes", "raw:Off", "raw:True", "true", "yes", "raw:1", "raw:[]"];
const TEXTS: [&str; 7] = ["raw:7", "raw:1.20", "raw:true", "raw:no", "raw:[a]", "raw:{a: b}", "text"];

/// A generator of numbers that gives the same ones for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below another one (xorshift).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

/// A manifest in a namespace; every other one has a mutation.
pub(super) fn manifest(random: &mut Random, namespace: &str, name: &str) -> String {
    let mut object = base(random, name);
    object["metadata"]["namespace"] = namespace.into();
    if random.below(2) > 0 {
        mutate(random, &mut object);
    }
    as_yaml(&object)
}

fn base(random: &mut Random, name: &str) -> Value {
    let simple = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "immutable": false}),
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}, "type": "Opaque"}),
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": "a"}, "publishNotReadyAddresses": true,
            "ports": [{"port": 80, "targetPort": 8080, "name": "http"}]}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [{"ports": [{"port": 80}]}]}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"leaseDurationSeconds": 60}}),
    ];
    let choice = random.below(simple.len() + 2 * KINDS.len());
    let mut object = simple.get(choice).cloned().unwrap_or_else(|| {
        let all = changes();
        let change = all[random.below(all.len())].clone();
        let change = if random.below(2) > 0 { vec![change] } else { Vec::new() };
        workload(&KINDS[choice % KINDS.len()], name, &change)
    });
    object["metadata"]["name"] = name.into();
    for map in ["labels", "annotations"] {
        object["metadata"][map] = json!({"release": "r1", "example.org/team": "a"});
    }
    object
}

/// A workload with fields of every type.
fn workload(kind: &(&str, &str, &str, &str), name: &str, change: &[(&str, Value)]) -> Value {
    let mut object = object(kind, name, &[]);
    let spec = &mut object.pointer_mut(kind.2).unwrap()["spec"];
    spec["terminationGracePeriodSeconds"] = 30.into();
    spec["automountServiceAccountToken"] = false.into();
    spec["hostNetwork"] = false.into();
    spec["volumes"] = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]);
    let container = &mut spec["containers"][0];
    container["env"] = json!([{"name": "A", "value": "b"}, {"name": "C", "value": "d"}]);
    container["command"] = json!(["sh", "-c"]);
    container["resources"] = json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": 0.1}});
    container["ports"] = json!([{"containerPort": 80}]);
    container["stdin"] = false.into();
    set(object.pointer_mut(kind.2).unwrap(), change);
    if kind.1 == "Job" {
        object["spec"]["backoffLimit"] = 1.into();
        object["spec"]["activeDeadlineSeconds"] = 600.into();
        object["spec"]["suspend"] = false.into();
    }
    object
}

fn mutate(random: &mut Random, object: &mut Value) {
    let mut places = Vec::new();
    collect(object, "", &mut places);
    let place = places[random.below(places.len())].clone();
    let found = object.pointer_mut(&place).unwrap();
    match found {
        Value::Object(fields) => {
            let field = random.of(&["unknown", "Spec", "imagee", "METADATA"]);
            fields.insert(field.to_owned(), "raw:1".into());
        }
        Value::Number(_) => *found = random.of(&NUMBERS).into(),
        Value::Bool(_) => *found = random.of(&BOOLEANS).into(),
        Value::String(_) => *found = random.of(&TEXTS).into(),
        Value::Array(_) | Value::Null => *found = random.of(&["raw:{}", "raw:1", "a"]).into(),
    }
}

/// The pointers to all values but those by which kubectl finds the object.
fn collect(value: &Value, at: &str, found: &mut Vec<String>) {
    const IDENTITY: [&str; 5] =
        ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata"];
    if !at.is_empty() && !IDENTITY.contains(&at) {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                collect(value, &format!("{at}/{}", key.replace('/', "~1")), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                collect(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Writes an object in the flow style of YAML.
fn as_yaml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("\"{key}\": {}", as_yaml(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(as_yaml).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => text.strip_prefix(RAW).map_or_else(|| value.to_string(), str::to_owned),
        scalar => scalar.to_string(),
    }
}
