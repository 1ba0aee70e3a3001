//! The sections below the namespaces.

use codex_k8s_shared::audit::Row;
use codex_k8s_shared::last_sweep::LastSweep;
use jiff::Timestamp;
use maud::{Markup, html};

use super::parts::{cell, head, moment, number, plain, section, unknown, warning};
use crate::page::model::Model;
use crate::page::quota::Usage;

/// The maximum number of scopes on the page: the fullest.
const SCOPES: usize = 20;

/// The section about quota reservations.
pub(super) fn quota_usage(model: &Model) -> Markup {
    let content = match &model.quota_usage {
        Err(why) => unknown("how many reservations there are", why),
        Ok(usage) if usage.is_empty() => {
            html! { p { "The policy limits nothing, and there is no reservation." } }
        }
        Ok(usage) => usage_table(usage),
    };
    section("quotas", "Quotas", &content)
}

fn usage_table(usage: &[Usage]) -> Markup {
    html! {
        table.cards role="table" {
            caption { "Reservations of the limits that the policy sets; the fullest first" }
            (head(&[("Of", false), ("Held", true), ("Limit", true), ("Full", false)]))
            tbody role="rowgroup" {
                @for usage in usage.iter().take(SCOPES) {
                    tr role="row" {
                        th role="rowheader" scope="row" { bdi { (plain(&usage.scope)) } }
                        (number("Held", usage.held))
                        @match usage.limit {
                            Some(limit) => (number("Limit", limit)),
                            None => (number("Limit", "none")),
                        }
                        (cell("Full", &fullness(usage)))
                    }
                }
            }
        }
        @if usage.len() > SCOPES { p { (usage.len() - SCOPES) " more are less full." } }
    }
}

fn fullness(usage: &Usage) -> Markup {
    html! {
        @match usage.percent() {
            None => "without a limit",
            Some(percent) => {
                svg.gauge viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                    rect.track x="0" y="0" width="100" height="10" {}
                    rect class={"held" @if percent >= 100 { " full" }} x="0" y="0" width=(percent.min(100)) height="10" {}
                }
                (percent) " %" @if percent >= 100 { ", full" }
            },
        }
    }
}

/// The section about the last sweep.
pub(super) fn sweep(model: &Model, now: Timestamp) -> Markup {
    let last = match &model.sweep {
        Err(why) => unknown("what the last sweep came to", why),
        Ok(None) => html! { p { "There was none yet." } },
        Ok(Some(last)) => outcome(last, now),
    };
    let content = html! {
        (last)
        p {
            @match model.next {
                None => { "The schedule has no next one." },
                Some(next) if next <= now => { "The next one is due since " (moment(next, now)) "." },
                Some(next) => { "The next one begins " (moment(next, now)) "." },
            }
        }
    };
    section("sweep", "Last sweep", &content)
}

fn outcome(last: &LastSweep, now: Timestamp) -> Markup {
    let lasted =
        last.finished_at.zip(last.started_at).map(|(end, start)| end.duration_since(start).as_secs());
    let counts = [
        ("Managed", last.managed),
        ("Due", last.due),
        ("Deleted", last.deleted),
        ("Failed", last.failed),
        ("Still being deleted", last.stuck),
        ("Left over", last.leaks),
    ];
    html! {
        @if let Some(error) = &last.error { (warning(error)) }
        @for code in &last.breaker { (warning(&format!("the breaker tripped, nothing was deleted but by its own lease: {code}"))) }
        dl.facts {
            div { dt { "Result" } dd { (last.result.as_str()) } }
            @if let Some(ended) = last.finished_at { div { dt { "Ended" } dd { (moment(ended, now)) } } }
            @if let Some(seconds) = lasted { div { dt { "Lasted" } dd { (seconds) " s" } } }
            div {
                dt { "Last success" }
                dd { @match last.last_success { Some(at) => (moment(at, now)), None => "none is known" } }
            }
            @for (what, count) in counts { div { dt { (what) } dd { (count) } } }
            @if let Some(end) = last.oldest_expired { div { dt { "Oldest lease that has ended" } dd { (moment(end, now)) } } }
            @if let Some(since) = last.oldest_terminating { div { dt { "Longest deletion, since" } dd { (moment(since, now)) } } }
        }
        @if !last.retained.is_empty() {
            table.cards role="table" {
                caption { "Namespaces that it kept, by reason" }
                (head(&[("Reason", false), ("Retained", true)]))
                tbody role="rowgroup" {
                    @for (reason, count) in &last.retained {
                        tr role="row" { th role="rowheader" scope="row" { (plain(reason)) } (number("Retained", count)) }
                    }
                }
            }
        }
    }
}

/// The section about audit rows.
pub(super) fn rows(model: &Model, now: Timestamp) -> Markup {
    let content = match &model.rows {
        Err(why) => unknown("what was done", why),
        Ok(rows) if rows.is_empty() => html! { p { "There is no row yet." } },
        Ok(rows) => html! {
            table.cards role="table" {
                caption { "The latest rows, the newest first; " code { "codex-k8s-guard audit list" } " lists more" }
                (head(&[("Time", false), ("Event", false), ("Namespace", false), ("Reason", false), ("Details", false)]))
                tbody role="rowgroup" { @for row in rows { (audit_row(row, now)) } }
            }
        },
    };
    section("rows", "Audit rows", &content)
}

fn audit_row(row: &Row, now: Timestamp) -> Markup {
    let payload = &row.event.payload;
    let details: Vec<_> = payload.error.iter().chain(&payload.guardrail_details).cloned().collect();
    let event = row.event.event_type.as_str().trim_start_matches("run.namespace.").replace('_', " ");
    let text = |text: &str| html! { @if text.is_empty() { "none" } @else { bdi { (plain(text)) } } };
    html! {
        tr role="row" {
            th role="rowheader" scope="row" { (moment(row.event.created_at, now)) }
            (cell("Event", &html! { (event) }))
            (cell("Namespace", &text(&payload.namespace)))
            (cell("Reason", &text(payload.reason.as_deref().unwrap_or_default())))
            (cell("Details", &text(&details.join("; "))))
        }
    }
}
