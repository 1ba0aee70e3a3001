//! Examples of the rules: requests and the webhook's answers to them.
//!
//! Each rule has its own. The unit tests evaluate them, `docs/rules.md` and `explain` show them, and a scenario sends
//! them to a real API server. An example starts from a valid [`Object`] and names only the differences.

mod objects;
#[cfg(test)]
mod tests;
mod yaml;

use serde_json::Value;

pub use objects::Object;
pub use yaml::yaml;

use super::Operation;

/// A request that shows a rule at work, and the expected answer. Without further calls, a person creates the object in
/// a run namespace, and it is admitted.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Example {
    /// The situation, as a part of a sentence.
    pub name: &'static str,
    /// The requester.
    pub user: User,
    /// The state of the cluster.
    pub setting: Setting,
    /// The settings of the policy that differ from the defaults, as YAML.
    pub policy: &'static str,
    /// The object from which the request starts.
    pub base: Object,
    /// The operation.
    pub operation: Operation,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'static str>,
    /// The stored object, as a merge patch of `base`.
    pub before: &'static str,
    /// The request's object, as a merge patch of the stored object, or of `base` if it is created.
    pub change: &'static str,
    /// A list of the request's object, as a JSON pointer, and the length to which its last entry is repeated.
    pub repeated: Option<(&'static str, usize)>,
    /// The expected answer.
    pub outcome: Outcome,
}

/// The requester of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// A person without a role on the platform.
    Person,
    /// The platform's worker.
    Worker,
    /// The ServiceAccount of the agent in the namespace of the example.
    Agent,
    /// The baseline reconciler.
    Reconciler,
    /// The garbage collector.
    Collector,
    /// The cluster's Job controller.
    JobController,
    /// The cluster's quota controller.
    QuotaController,
    /// A kubelet.
    Kubelet,
}

/// The state of the cluster in an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// A run namespace in mode `full-env` whose baseline is ready.
    FullEnv,
    /// A run namespace in mode `code-only` whose baseline is ready.
    CodeOnly,
    /// A slot whose baseline is ready.
    Slot,
    /// A run namespace that enforces the Pod Security level `restricted`.
    Restricted,
    /// A run namespace whose baseline is not ready.
    NotReady,
    /// A run namespace that is being deleted.
    Terminating,
    /// A namespace that is not managed, or no namespace.
    Unmanaged,
    /// A Namespace while another run namespace, which a person created, carries the run id `r1`.
    RunIdInUse,
    /// A Namespace while the cluster has as many run namespaces as `quotas` allows.
    LimitReached,
}

/// The expected answer to an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request is admitted, and the rule changes nothing.
    Admitted,
    /// The rule denies the request, for this field.
    Denied(&'static str),
    /// The rule warns about this field.
    Warned(&'static str),
    /// The request is admitted, and the rule sets these fields: a JSON pointer and the value as YAML, `null` if the field
    /// is removed.
    Mutated(&'static [(&'static str, &'static str)]),
}

impl Example {
    /// Creates an example with this name.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            user: User::Person,
            setting: Setting::FullEnv,
            policy: "",
            base: Object::Job,
            operation: Operation::Create,
            subresource: None,
            before: "",
            change: "",
            repeated: None,
            outcome: Outcome::Admitted,
        }
    }

    /// Sets the requester.
    pub(crate) const fn by(self, user: User) -> Self {
        Self { user, ..self }
    }

    /// Sets the state of the cluster.
    pub(crate) const fn within(self, setting: Setting) -> Self {
        Self { setting, ..self }
    }

    /// Sets the part of the policy that differs from the defaults.
    pub(crate) const fn under(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    /// Creates an object: `base` with a change.
    pub(crate) const fn creates(self, base: Object, change: &'static str) -> Self {
        Self { operation: Operation::Create, base, change, ..self }
    }

    /// Updates an object: the stored one is `base` with what `before` changes.
    pub(crate) const fn updates(self, base: Object, before: &'static str, change: &'static str) -> Self {
        Self { operation: Operation::Update, base, before, change, ..self }
    }

    /// Deletes an object: `base` with what `before` changes.
    pub(crate) const fn deletes(self, base: Object, before: &'static str) -> Self {
        Self { operation: Operation::Delete, base, before, ..self }
    }

    /// Sets the subresource.
    pub(crate) const fn on(self, subresource: &'static str) -> Self {
        Self { subresource: Some(subresource), ..self }
    }

    /// Repeats the last entry of a list until the list has this length.
    pub(crate) const fn repeating(self, list: &'static str, length: usize) -> Self {
        Self { repeated: Some((list, length)), ..self }
    }

    /// Expects that the rule denies the request, for this field.
    pub(crate) const fn denied_at(self, path: &'static str) -> Self {
        Self { outcome: Outcome::Denied(path), ..self }
    }

    /// Expects that the rule warns about this field.
    pub(crate) const fn warned_at(self, path: &'static str) -> Self {
        Self { outcome: Outcome::Warned(path), ..self }
    }

    /// Expects that the rule sets these fields.
    pub(crate) const fn mutated(self, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { outcome: Outcome::Mutated(fields), ..self }
    }

    /// Returns the stored object; `None` if the request creates it.
    pub(crate) fn old_object(&self) -> Option<Value> {
        (self.operation != Operation::Create).then(|| merged(self.base.value(), self.before))
    }

    /// Returns the object of the request; `None` if the request deletes it.
    pub fn object(&self) -> Option<Value> {
        if self.operation == Operation::Delete {
            return None;
        }
        let base = self.old_object().unwrap_or_else(|| self.base.value());
        let mut object = merged(base, self.change);
        if let Some((list, length)) = self.repeated {
            repeat(&mut object, list, length);
        }
        Some(object)
    }
}

impl Outcome {
    /// Returns true if the request is denied or causes a warning.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Warned(_))
    }
}

impl User {
    /// Returns the requester as part of a sentence.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Person => "a person",
            Self::Worker => "the platform's worker",
            Self::Agent => "an agent",
            Self::Reconciler => "the baseline reconciler",
            Self::Collector => "the garbage collector",
            Self::JobController => "the cluster's Job controller",
            Self::QuotaController => "the cluster's quota controller",
            Self::Kubelet => "a kubelet",
        }
    }
}

impl Setting {
    /// Returns the state in words; empty if the example does not depend on it.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::FullEnv | Self::Unmanaged => "",
            Self::CodeOnly => "in a code-only namespace",
            Self::Slot => "in a slot",
            Self::Restricted => "in a namespace that enforces the Pod Security level restricted",
            Self::NotReady => "in a namespace whose baseline is not ready",
            Self::Terminating => "in a namespace that is being deleted",
            Self::RunIdInUse => "while another namespace carries the run id r1",
            Self::LimitReached => "while the cluster has as many run namespaces as quotas allows",
        }
    }
}

/// Parses the YAML of an example. It is always valid, because the tests parse every example.
fn read(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_default()
}

fn merged(mut object: Value, patch: &str) -> Value {
    if !patch.is_empty() {
        json_patch::merge(&mut object, &read(patch));
    }
    object
}

fn repeat(object: &mut Value, list: &str, length: usize) {
    if let Some(entries) = object.pointer_mut(list).and_then(Value::as_array_mut)
        && let Some(last) = entries.last().cloned()
    {
        entries.resize(length, last);
    }
}
