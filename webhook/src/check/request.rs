//! What is to be evaluated of the objects of a set.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::review::Operation;

/// Who does what to the objects, and when.
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// Who.
    pub requester: Requester,
    /// What.
    pub operation: Operation,
    /// To which part of them; the whole where there is none.
    pub subresource: Option<String>,
    /// Where objects lie that name no namespace.
    pub default_namespace: String,
    /// When; now, where there is none.
    pub now: Option<Timestamp>,
}

/// What can be connected to, as a subresource and in the kind of its options.
pub const CONNECTIONS: [(&str, &str); 4] =
    [("exec", "Exec"), ("attach", "Attach"), ("portforward", "PortForward"), ("proxy", "Proxy")];

impl CheckRequest {
    /// The kind that a review names: whoever connects to an object sends options, of a kind of their own.
    pub(super) fn kind_in_review<'k>(&self, kind: &'k str) -> Cow<'k, str> {
        let desired = self.subresource.as_deref().filter(|_| self.operation == Operation::Connect);
        match CONNECTIONS.iter().find(|(name, _)| Some(*name) == desired) {
            Some((_, connection)) => format!("{kind}{connection}Options").into(),
            None => kind.into(),
        }
    }

    /// The creation of the objects, by this requester, now.
    pub fn creation(requester: Requester) -> Self {
        Self {
            requester,
            operation: Operation::Create,
            subresource: None,
            default_namespace: "default".to_owned(),
            now: None,
        }
    }
}

/// Who would do something to the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The user name; `agent` is the ServiceAccount of the namespace that each object lies in.
    pub user: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl Requester {
    /// Name and groups of whoever it is for an object of a namespace.
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
