//! Inspection of a namespace before its gate opens for the first time, for objects from before the rules guarded it.
//!
//! Each object is evaluated by the rules of admission as if it were created now. An object does not say who created it
//! (field managers are chosen by the client), so the creator is assumed to be a user with the fewest rights, except for
//! the objects that the platform keeps in a slot before it labels the slot:
//!
//! | object | assumed to be the platform's |
//! | --- | --- |
//! | a binding elsewhere | for a slot, because a manager may bind the candidate accounts there, and no others |
//! | a RoleBinding in a slot | if it names only accounts of the slot that no agent runs as |
//! | a Role in a slot | if it is bound, and only by such a RoleBinding |
//! | a workload in a slot | for its ServiceAccount and the host network, which image builds use |
//!
//! Only rules about rights and about the host count. A missing label or deadline does not keep a gate closed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::run::RuntimeMode;
use jiff::Timestamp;
use serde_json::Value;

use crate::created::as_created;
use crate::rules::object::items;
use crate::rules::rbac::{Included, included};
use crate::rules::report::clean;
use crate::rules::workload::is_privilege;
use crate::rules::{self, Entry, Facts, Finding, Kind, ManagedNamespace, Meta, Operation, Request};

/// The maximum number of objects to name; the others are counted.
const MOST_NAMED: usize = 5;

/// An object that exists.
#[derive(Debug, Clone)]
pub(crate) struct Existing {
    /// The kind in the rules.
    pub kind: Kind,
    /// The name of its kind.
    pub kind_name: &'static str,
    /// The object.
    pub object: Value,
}

/// An object that must be removed before the gate opens, and the first rule that it violates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub kind: &'static str,
    /// The namespace, if it is another one.
    pub elsewhere: Option<String>,
    /// The name.
    pub name: String,
    /// The id of the rule.
    pub rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, elsewhere, name, rule } = self;
        let prefix = elsewhere.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        write!(out, "{kind} {prefix}{} ({rule})", clean(name))
    }
}

/// Formats the reason why a gate is closed: the first violations by name, and the number of the others.
pub fn reason(violations: &[Violation]) -> String {
    let named: Vec<_> = violations.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    let more = match violations.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!("the removal of {}{more}", named.join(", "));
    text.chars().take(1000).collect()
}

/// Bindings that name `ServiceAccounts` of other namespaces than their own, by these namespaces. Only the subjects that
/// do so are kept.
#[derive(Debug, Default)]
pub(crate) struct BindingsElsewhere {
    of_namespace: HashMap<String, Vec<Existing>>,
    of_all: Vec<Existing>,
}

impl BindingsElsewhere {
    /// Adds a `RoleBinding` or `ClusterRoleBinding`.
    pub(crate) fn add(&mut self, binding: &Existing) {
        let own_namespace = Meta::of(&binding.object).text("namespace");
        let mut by_namespace: HashMap<&str, Vec<&Value>> = HashMap::new();
        let mut of_all = Vec::new();
        for subject in items(binding.object.get("subjects")) {
            match included(subject) {
                Some(Included::Of(namespace)) if Some(namespace) != own_namespace => {
                    by_namespace.entry(namespace).or_default().push(subject);
                }
                Some(Included::All) => of_all.push(subject),
                Some(Included::Of(_)) | None => {}
            }
        }
        let with = |subjects: Vec<&Value>| {
            let metadata = serde_json::json!({
                "name": Meta::of(&binding.object).text("name"),
                "namespace": own_namespace,
            });
            let role = binding.object.get("roleRef");
            let object = serde_json::json!({"metadata": metadata, "roleRef": role, "subjects": subjects});
            Existing { object, ..*binding }
        };
        if !of_all.is_empty() {
            self.of_all.push(with(of_all));
        }
        for (namespace, subjects) in by_namespace {
            self.of_namespace.entry(namespace.to_owned()).or_default().push(with(subjects));
        }
    }

    /// Reduces one binding; `None` if it names no account of another namespace.
    pub(crate) fn of(binding: &Existing) -> Option<Self> {
        let mut reduced = Self::default();
        reduced.add(binding);
        (!reduced.of_all.is_empty() || !reduced.of_namespace.is_empty()).then_some(reduced)
    }

    /// Adds the bindings of another list.
    pub(crate) fn append(&mut self, mut more: Self) {
        self.of_all.append(&mut more.of_all);
        for (namespace, mut bindings) in more.of_namespace {
            self.of_namespace.entry(namespace).or_default().append(&mut bindings);
        }
    }

    fn concerning(&self, namespace: &str) -> impl Iterator<Item = &Existing> {
        self.of_namespace.get(namespace).into_iter().flatten().chain(&self.of_all)
    }
}

/// A namespace that is inspected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inspected<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The namespace as the rules see it.
    pub namespace: &'a ManagedNamespace,
    /// The baseline objects, which the reconciler repairs itself.
    pub baseline: &'a [(BaselineKind, String)],
    /// The time.
    pub now: Timestamp,
}

impl Inspected<'_> {
    /// Returns the objects in the namespace and the bindings elsewhere that violate the rules.
    pub(crate) fn violations(&self, within: &[Existing], elsewhere: &BindingsElsewhere) -> Vec<Violation> {
        let roles = self.is_slot().then(|| Bound::by(self, within));
        let outside = elsewhere.concerning(&self.namespace.name);
        let outside =
            outside.filter(|binding| !self.lies_within(binding)).filter_map(|binding| self.outside(binding));
        let inside = within
            .iter()
            .filter(|object| !self.is_baseline(object))
            .filter(|object| roles.as_ref().is_none_or(|roles| !self.is_the_platforms(object, roles)));
        outside.chain(inside.filter_map(|object| self.inside(object))).collect()
    }

    fn is_slot(&self) -> bool {
        self.policy.namespaces.is_slot(&self.namespace.name)
    }

    fn lies_within(&self, existing: &Existing) -> bool {
        Meta::of(&existing.object).text("namespace") == Some(&*self.namespace.name)
    }

    fn is_baseline(&self, existing: &Existing) -> bool {
        let name = Meta::of(&existing.object).text("name");
        let kind = baseline_kind(existing.kind);
        self.baseline
            .iter()
            .any(|(desired, desired_name)| Some(*desired) == kind && Some(desired_name.as_str()) == name)
    }

    /// True for a role or binding that the platform keeps in a slot for its own stack.
    fn is_the_platforms(&self, existing: &Existing, roles: &Bound<'_>) -> bool {
        match existing.kind {
            Kind::RoleBinding => self.names_no_agent(&existing.object),
            Kind::Role => {
                let name = Meta::of(&existing.object).text("name").unwrap_or_default();
                roles.platforms.contains(name) && !roles.others.contains(name)
            }
            _ => false,
        }
    }

    /// True if a binding names only accounts of the namespace that no agent runs as.
    fn names_no_agent(&self, binding: &Value) -> bool {
        let accounts = &self.policy.jobs.service_accounts;
        let text =
            |subject: &Value, field: &str| subject.get(field).and_then(Value::as_str).map(str::to_owned);
        items(binding.get("subjects")).all(|subject| {
            let name = text(subject, "name").unwrap_or_default();
            let agents = accounts.full_env.iter().chain(&accounts.code_only).map(String::as_str);
            let mut agents = agents.chain(names(self.policy, BaselineKind::ServiceAccount));
            text(subject, "kind").as_deref() == Some("ServiceAccount")
                && text(subject, "namespace").as_deref() == Some(&*self.namespace.name)
                && !agents.any(|agent| agent == name)
        })
    }

    fn outside(&self, binding: &Existing) -> Option<Violation> {
        // In a slot, a manager may bind the candidate accounts, and only these.
        let manager = self.policy.identities.managers.users.first().filter(|_| self.is_slot());
        let facts = Facts { named: vec![self.namespace.name.clone()], ..Facts::at(self.now) };
        self.first(binding, &facts, manager.map_or("", String::as_str), |finding| {
            finding.rule.id == "RBAC003"
        })
    }

    fn inside(&self, existing: &Existing) -> Option<Violation> {
        let mut namespace = ManagedNamespace { ready: true, ..self.namespace.clone() };
        if baseline_kind(existing.kind).is_some_and(|kind| self.has_name_of(kind, &existing.object)) {
            // The platform's own copy of a profile that is not used here: it may grant the rights of the profile.
            namespace.mode = RuntimeMode::FullEnv;
        }
        let facts = Facts { namespace: Some(Arc::new(namespace)), ..Facts::at(self.now) };
        self.first(existing, &facts, "", |finding| self.keeps_closed(finding))
    }

    fn has_name_of(&self, kind: BaselineKind, object: &Value) -> bool {
        let name = Meta::of(object).text("name").unwrap_or_default();
        names(self.policy, kind).any(|listed| listed == name)
    }

    /// True if a finding about an object in the namespace keeps the gate closed.
    fn keeps_closed(&self, finding: &Finding) -> bool {
        const OF_RIGHTS: [&str; 3] = ["RBAC001", "RBAC002", "SECRET001"];
        // An object that is too large is not evaluated any further.
        const OF_SIZE: &str = "JOB024";
        // The rules about ServiceAccounts, and about the host's namespaces and ports.
        const OF_THE_STACK: [&str; 3] = ["JOB004", "JOB005", "JOB006"];
        let of_the_network = |path: &str| path.ends_with("hostNetwork") || path.ends_with("hostPort");
        let id = finding.rule.id;
        let is_the_platforms =
            self.is_slot() && (OF_THE_STACK.contains(&id) || of_the_network(&finding.path));
        OF_RIGHTS.contains(&id) || id == OF_SIZE || (is_privilege(finding.rule) && !is_the_platforms)
    }

    /// Returns the first finding that counts if the object were created now.
    fn first(
        &self,
        existing: &Existing,
        facts: &Facts,
        user: &str,
        counts: impl Fn(&Finding) -> bool,
    ) -> Option<Violation> {
        let meta = Meta::of(&existing.object);
        let (name, own_namespace) = (meta.text("name").unwrap_or_default(), meta.text("namespace"));
        let mut object = existing.object.clone();
        object["kind"] = existing.kind_name.into();
        let request = Request {
            operation: Operation::Create,
            kind: existing.kind,
            subresource: None,
            name,
            user,
            groups: Vec::new(),
            object: Some(as_created(object, self.now)),
            old_object: None,
        };
        let verdict = rules::decide(self.policy, facts, &request, Entry::Validate);
        let finding = verdict.denials().find(|finding| counts(finding))?;
        Some(Violation {
            kind: existing.kind_name,
            elsewhere: own_namespace
                .filter(|own_namespace| *own_namespace != &*self.namespace.name)
                .map(str::to_owned),
            name: name.to_owned(),
            rule: finding.rule.id,
        })
    }
}

const fn baseline_kind(kind: Kind) -> Option<BaselineKind> {
    match kind {
        Kind::Role => Some(BaselineKind::Role),
        Kind::RoleBinding => Some(BaselineKind::RoleBinding),
        _ => None,
    }
}

/// The bound Roles of a slot, by the owner of the bindings.
struct Bound<'a> {
    platforms: HashSet<&'a str>,
    others: HashSet<&'a str>,
}

impl<'a> Bound<'a> {
    fn by(inspected: &Inspected<'_>, within: &'a [Existing]) -> Self {
        let bindings = within.iter().filter(|existing| existing.kind == Kind::RoleBinding);
        let (mut platforms, mut others) = (HashSet::new(), HashSet::new());
        for binding in bindings {
            let role = binding.object.get("roleRef").filter(|role| role["kind"] == "Role");
            let Some(name) = role.and_then(|role| role["name"].as_str()) else { continue };
            let bound = if inspected.names_no_agent(&binding.object) { &mut platforms } else { &mut others };
            bound.insert(name);
        }
        Self { platforms, others }
    }
}

#[cfg(test)]
mod tests;
