//! The request to evaluate for each object of a set.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::review::Operation;

/// The request for the objects.
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// The requester.
    pub requester: Requester,
    /// The operation.
    pub operation: Operation,
    /// The subresource; `None` for the whole object.
    pub subresource: Option<String>,
    /// The namespace of objects that do not name one.
    pub default_namespace: String,
    /// The time; `None` for now.
    pub now: Option<Timestamp>,
    /// True if no verdict may rest on an assumption.
    pub strict: bool,
}

/// The subresources of connections, with the kinds of their options.
pub const CONNECTIONS: [(&str, &str); 4] =
    [("exec", "Exec"), ("attach", "Attach"), ("portforward", "PortForward"), ("proxy", "Proxy")];

impl CheckRequest {
    /// Returns the kind in a review. A connection sends options, which have a kind of their own.
    pub(super) fn kind_in_review<'k>(&self, kind: &'k str) -> Cow<'k, str> {
        let desired = self.subresource.as_deref().filter(|_| self.operation == Operation::Connect);
        match CONNECTIONS.iter().find(|(name, _)| Some(*name) == desired) {
            Some((_, connection)) => format!("{kind}{connection}Options").into(),
            None => kind.into(),
        }
    }

    /// Returns the request to create the objects now.
    pub fn creation(requester: Requester) -> Self {
        Self {
            requester,
            operation: Operation::Create,
            subresource: None,
            default_namespace: "default".to_owned(),
            now: None,
            strict: false,
        }
    }
}

/// The requester; by default without a name and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requester {
    /// The user name; `agent` stands for the ServiceAccount of the namespace of each object.
    pub user: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl Requester {
    /// Returns the requester's name and groups for an object in a namespace.
    pub(super) fn in_namespace(&self, namespace: &str) -> (String, Vec<String>) {
        let user = match self.user.as_str() {
            "agent" => format!("system:serviceaccount:{namespace}:codex-runner"),
            user => user.to_owned(),
        };
        let mut groups = self.groups.clone();
        groups.push("system:authenticated".to_owned());
        if let Some(own_namespace) =
            user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split(':').next())
        {
            groups.extend([
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{own_namespace}"),
            ]);
        }
        (user, groups)
    }
}
