//! The webhook's verdict on what is in a live cluster: each object as if it were created now, and the baseline of each
//! namespace as the reconciler would find it. Nothing is written.
//!
//! [`LiveCheck`] evaluates, [`read`] brings it what there is.

mod change;
mod created;
mod drift;
pub mod kinds;
mod live_check;
pub mod read;

#[cfg(test)]
mod tests;

pub use change::{Change, Effect, RolloutReport, RolloutSummary};
pub use drift::{REMEDY, RULE, TITLE, WHY};
pub use live_check::{LiveCheck, Outcome};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// What was read of a live cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Its managed namespaces.
    pub namespaces: usize,
    /// Those of them that are being deleted: they and what they hold are not evaluated.
    pub terminating: usize,
    /// Those whose gate is closed, and what they wait for.
    pub closed: BTreeMap<String, String>,
    /// The resources that were left out.
    pub left_out: Vec<String>,
    /// The requests that the API server was sent.
    pub requests: usize,
}

/// Where an object is told of among others.
type SortKey<'a> = (bool, &'a str, bool, &'a str, &'a str);

/// By namespace; a Namespace stands before what it holds, and what lies in none at the end.
fn sort_key<'a>(kind: &'a str, namespace: Option<&'a str>, name: &'a str) -> SortKey<'a> {
    let is_namespace = kind == "Namespace";
    let own_namespace = if is_namespace { Some(name) } else { namespace };
    (own_namespace.is_none(), own_namespace.unwrap_or_default(), !is_namespace, kind, name)
}
