//! The data of the page as JSON, for scripts. Pure.
//!
//! An unknown value is an object with the key `unknown`, which has the reason.

use codex_k8s_shared::audit::Row;
use codex_k8s_shared::cleanup::{Reason, Verdict};
use codex_k8s_shared::keys;
use codex_k8s_shared::last_sweep::LastSweep;
use jiff::Timestamp;
use serde::Serialize;

use super::model::{Known, Listed, Model, Namespaces};
use super::query::Query;
use super::quota::Usage;

/// A value, or the reason for which it is unknown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum OrUnknown<T> {
    Known(T),
    Unknown { unknown: String },
}

impl<T> OrUnknown<T> {
    fn of<'a, S>(value: &'a Known<S>, show: impl FnOnce(&'a S) -> T) -> Self {
        match value {
            Ok(value) => Self::Known(show(value)),
            Err(why) => Self::Unknown { unknown: why.clone() },
        }
    }
}

/// The data of the page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status<'a> {
    read_at: Timestamp,
    namespaces: OrUnknown<ListOfNamespaces<'a>>,
    quota_usage: OrUnknown<&'a Vec<Usage>>,
    last_sweep: OrUnknown<&'a Option<LastSweep>>,
    next_sweep: Option<Timestamp>,
    audit_rows: OrUnknown<Vec<AuditRow<'a>>>,
}

/// The namespaces that match the query, and what holds for all namespaces.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOfNamespaces<'a> {
    managed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<&'a str>,
    breaker: OrUnknown<&'a Vec<String>>,
    items: Vec<Item<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    run_id: Option<&'a str>,
    project_id: Option<&'a str>,
    runtime_mode: Option<&'a str>,
    requested_by: Option<&'a str>,
    lease_expires_at: Option<Timestamp>,
    baseline_ready_at: Option<&'a str>,
    baseline_waits_for: Option<&'a str>,
    quota_pending_since: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditRow<'a> {
    at: Timestamp,
    event: &'static str,
    namespace: &'a str,
    run_id: &'a str,
    reason: Option<&'a str>,
}

impl<'a> Status<'a> {
    /// The data, with the namespaces that match a query. All of them are listed: there are no pages.
    pub(crate) fn new(model: &'a Model, query: &Query) -> Self {
        Self {
            read_at: model.read_at,
            namespaces: OrUnknown::of(&model.namespaces, |namespaces| list(namespaces, query)),
            quota_usage: OrUnknown::of(&model.quota_usage, |usage| usage),
            last_sweep: OrUnknown::of(&model.sweep, |sweep| sweep),
            next_sweep: model.next,
            audit_rows: OrUnknown::of(&model.rows, |rows| rows.iter().map(row).collect()),
        }
    }
}

fn list<'a>(namespaces: &'a Namespaces, query: &Query) -> ListOfNamespaces<'a> {
    ListOfNamespaces {
        managed: namespaces.listed.len(),
        undecided: namespaces.undecided.as_deref(),
        breaker: OrUnknown::of(&namespaces.trips, |trips| trips),
        items: query.matching(&namespaces.listed).into_iter().map(item).collect(),
    }
}

fn item(listed: &Listed) -> Item<'_> {
    let Listed { candidate, verdict } = listed;
    let reason = verdict.as_ref().map(Verdict::reason);
    Item {
        name: &candidate.name,
        state: listed.state().code(),
        reason: reason.map(Reason::code),
        message: reason.map(ToString::to_string),
        until: match verdict {
            Some(Verdict::Wait { until, .. }) => Some(*until),
            _ => None,
        },
        run_id: candidate.label(keys::RUN_ID),
        project_id: candidate.label(keys::PROJECT_ID),
        runtime_mode: candidate.label(keys::RUNTIME_MODE),
        requested_by: candidate.annotation(keys::REQUESTED_BY),
        lease_expires_at: candidate.lease().map(|lease| lease.expires_at.timestamp()),
        baseline_ready_at: candidate.annotation(keys::BASELINE_READY_AT),
        baseline_waits_for: candidate.annotation(keys::BASELINE_WAITS_FOR),
        quota_pending_since: candidate.annotation(keys::QUOTA_PENDING_SINCE),
    }
}

fn row(row: &Row) -> AuditRow<'_> {
    let payload = &row.event.payload;
    AuditRow {
        at: row.event.created_at,
        event: row.event.event_type.as_str(),
        namespace: &payload.namespace,
        run_id: &payload.run_id,
        reason: payload.reason.as_deref(),
    }
}
