//! Rights as a table: what Roles grant, and what was used according to the audit log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One verb on one resource, as a Role of ours grants it to a ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) account: String,
    /// The namespace; `None` for all of them and for cluster-scoped objects.
    pub(crate) namespace: Option<String>,
    pub(crate) group: String,
    /// The resource, with its subresource if there is one.
    pub(crate) resource: String,
    /// The name, if the right is for one object alone.
    pub(crate) name: Option<String>,
    pub(crate) verb: String,
}

/// A request of a ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) account: String,
    pub(crate) namespace: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) verb: String,
    pub(crate) code: u64,
    /// The API server's message if it refuses.
    pub(crate) message: String,
}

impl Right {
    pub(crate) fn allows(&self, request: &Request) -> bool {
        self.account == request.account
            && self.group == request.group
            && self.resource == request.resource
            && self.verb == request.verb
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && self.name.as_ref().is_none_or(|name| *name == request.name)
    }
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value[field].as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The kinds of objects that define rights.
pub(super) const KINDS: [&str; 7] = [
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// The rights that rendered objects grant to their `ServiceAccounts`.
pub(crate) fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let is_binding = |object: &&Value| {
        object["kind"].as_str().unwrap().ends_with("Binding") && object["roleRef"].is_object()
    };
    let mut all = BTreeSet::new();
    for binding in objects.iter().filter(is_binding) {
        let of_namespace = binding["kind"] == "RoleBinding";
        let namespace = of_namespace.then(|| text(binding, "/metadata/namespace"));
        let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
        let role =
            objects.iter().find(|object| object["kind"] == *kind && object["metadata"]["name"] == *name);
        for rule in role.unwrap()["rules"].as_array().unwrap() {
            let names = match texts(rule, "resourceNames") {
                names if names.is_empty() => vec![None],
                names => names.into_iter().map(Some).collect(),
            };
            for subject in binding["subjects"].as_array().unwrap() {
                for (group, resource, name, verb) in product(rule, &names) {
                    let (account, namespace) = (text(subject, "/name"), namespace.clone());
                    all.insert(Right { account, namespace, group, resource, name, verb });
                }
            }
        }
    }
    all
}

fn product(rule: &Value, names: &[Option<String>]) -> Vec<(String, String, Option<String>, String)> {
    let mut all = Vec::new();
    for group in texts(rule, "apiGroups") {
        for resource in texts(rule, "resources") {
            for name in names {
                let of = |verb| (group.clone(), resource.clone(), name.clone(), verb);
                all.extend(texts(rule, "verbs").into_iter().map(of));
            }
        }
    }
    all
}

/// The requests of the `ServiceAccounts` of a namespace, according to the audit log. Access reviews and non-resource
/// paths are open to everyone, so they are left out.
pub(crate) fn requests(events: &[Value], home: &str) -> Vec<Request> {
    let lead = format!("system:serviceaccount:{home}:");
    let request = |event: &Value| {
        let account = event.pointer("/impersonatedUser/username")?.as_str()?.strip_prefix(&lead)?.to_owned();
        let object = event.get("objectRef")?;
        let subresource = text(object, "/subresource");
        let slash = if subresource.is_empty() { "" } else { "/" };
        Some(Request {
            account,
            namespace: text(object, "/namespace"),
            group: text(object, "/apiGroup"),
            resource: format!("{}{slash}{subresource}", text(object, "/resource")),
            name: text(object, "/name"),
            verb: text(event, "/verb"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
            message: text(event, "/responseStatus/message"),
        })
    };
    events.iter().filter_map(request).filter(|request| request.group != "authorization.k8s.io").collect()
}

/// Rights with the same account, namespace and object in one row, with their verbs in a fixed order.
pub(crate) fn rows(rights: &BTreeSet<Right>) -> Vec<[String; 4]> {
    const VERBS: [&str; 9] =
        ["get", "list", "watch", "create", "patch", "update", "delete", "escalate", "bind"];
    let mut verbs = BTreeMap::<_, BTreeSet<&str>>::new();
    for right in rights {
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let slash = if subresource.is_empty() { "" } else { "/" };
        let what = format!("{resource}{group}{slash}{subresource}");
        let row = (&right.account, &right.namespace, what, &right.name);
        verbs.entry(row).or_default().insert(&right.verb);
    }
    // Rights that differ only in the name share a row.
    let mut rows = BTreeMap::<_, Vec<&str>>::new();
    for ((account, namespace, what, name), verbs) in verbs {
        let order = |verb: &&str| VERBS.iter().position(|known| known == verb).unwrap();
        let mut verbs: Vec<_> = verbs.into_iter().collect();
        verbs.sort_by_key(order);
        rows.entry((account, namespace, what, verbs.join(", "))).or_default().extend(name.as_deref());
    }
    let row = |((account, namespace, what, verbs), names): ((&String, &Option<String>, _, _), Vec<&str>)| {
        let place = if namespace.is_some() { "own namespace" } else { "cluster" };
        let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        [account.clone(), place.to_owned(), format!("{what}{names}"), verbs]
    };
    rows.into_iter().map(row).collect()
}

/// The rights as a Markdown table.
pub(crate) fn markdown(rights: &BTreeSet<Right>) -> String {
    let lines = rows(rights).into_iter().map(|row| format!("| {} |\n", row.join(" | ")));
    format!(
        "| ServiceAccount | where | what | verbs |\n| --- | --- | --- | --- |\n{}",
        lines.collect::<String>()
    )
}
