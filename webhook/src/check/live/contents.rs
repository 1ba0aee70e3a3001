//! The contents of a live cluster, as both reports list them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// The contents of a live cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The number of managed namespaces.
    pub namespaces: usize,
    /// The number of them that are being deleted. They and their objects are not evaluated.
    pub terminating: usize,
    /// The namespaces whose gate is closed, with the reason.
    pub closed: BTreeMap<String, String>,
    /// The resources that were excluded.
    pub left_out: Vec<String>,
    /// The number of requests to the API server.
    pub requests: usize,
}
