//! The section about the namespaces.

use codex_k8s_shared::cleanup::{Reason, Verdict};
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use jiff::Timestamp;
use maud::{Markup, html};

use super::filter;
use super::parts::{cell, head, moment, plain, section as with_heading, unknown, warning};
use super::timeline::Window;
use crate::page::model::{Listed, Model, Namespaces};
use crate::page::query::{Query, Selection};
use crate::times::relative;

const COLUMNS: [(&str, bool); 4] =
    [("Namespace", false), ("State", false), ("Lease", false), ("Baseline", false)];

/// The whole section.
pub(super) fn section(model: &Model, query: &Result<Query, Vec<String>>, now: Timestamp) -> Markup {
    let content = match (query, &model.namespaces) {
        (Err(wrong), namespaces) => {
            let listed = namespaces.as_ref().map(|namespaces| &*namespaces.listed).unwrap_or_default();
            html! { (filter::errors(wrong)) (filter::form(listed, &Query::default())) }
        }
        (Ok(_), Err(why)) => unknown("the list of namespaces", why),
        (Ok(query), Ok(namespaces)) => found(namespaces, query, now),
    };
    with_heading("namespaces", "Namespaces", &content)
}

fn found(namespaces: &Namespaces, query: &Query, now: Timestamp) -> Markup {
    let selection = query.select(&namespaces.listed);
    html! {
        @if let Some(why) = &namespaces.undecided { (unknown("the decisions about the namespaces", why)) }
        @else {
            @match &namespaces.trips {
                Ok(trips) => { @for trip in trips { (warning(&format!("a sweep would delete nothing now: {trip}"))) } }
                Err(why) => (unknown("the verdict of the circuit breaker", why)),
            }
        }
        (filter::states(&namespaces.listed, query))
        (filter::form(&namespaces.listed, query))
        p { (describe(&selection, query, namespaces.listed.len())) }
        @if !selection.shown.is_empty() { (table(&selection, now)) }
        (filter::parts(&selection, query))
    }
}

fn describe(selection: &Selection<'_>, query: &Query, all: usize) -> String {
    match (all, selection.found) {
        (0, _) => "There is no managed namespace.".to_owned(),
        (all, 0) => format!("None of {all} namespaces matches."),
        (all, _) if query.is_for_all() => format!("{all} namespaces, the earliest end first."),
        (all, found) => format!("{found} of {all} namespaces match, the earliest end first."),
    }
}

fn table(selection: &Selection<'_>, now: Timestamp) -> Markup {
    let window = Window::of(&selection.shown, now);
    let (past, future) = window.hours();
    html! {
        table.cards role="table" {
            caption {
                "Managed namespaces. Bars run from " (past) " h ago to " (future) " h from now, the upright line is now: a thin line \
                 is the life of a namespace, a grey bar the part of its lease that is over, a green one what is left, a red line the time \
                 since its end."
            }
            (head(&COLUMNS))
            tbody role="rowgroup" { @for listed in &selection.shown { (row(listed, &window, now)) } }
        }
    }
}

fn row(listed: &Listed, window: &Window, now: Timestamp) -> Markup {
    html! {
        tr role="row" class=(listed.state().code()) {
            th role="rowheader" scope="row" { (name(listed)) }
            (cell("State", &html! { (filter::badge(listed.state())) " " span.why { (why(listed, now)) } }))
            (cell("Lease", &html! { (window.bar(listed)) span { (lease(listed, now)) } }))
            (cell("Baseline", &baseline(listed, now)))
        }
    }
}

fn name(listed: &Listed) -> Markup {
    let candidate = &listed.candidate;
    let facts = [
        ("run", candidate.label(keys::RUN_ID)),
        ("project", candidate.label(keys::PROJECT_ID)),
        ("mode", candidate.label(keys::RUNTIME_MODE)),
        ("requested by", candidate.annotation(keys::REQUESTED_BY)),
    ];
    html! {
        bdi { (plain(&candidate.name)) }
        @for (what, value) in facts.into_iter().filter_map(|(what, value)| Some((what, value?))) {
            " " span.fact { (what) " " bdi { (plain(value)) } }
        }
    }
}

fn why(listed: &Listed, now: Timestamp) -> Markup {
    let text = |reason: &Reason| html! { bdi { (plain(&reason.to_string())) } };
    html! {
        @match &listed.verdict {
            None => "the decision about it is unknown",
            Some(Verdict::Delete(reason)) => { "the next sweep deletes it: " (text(reason)) },
            Some(Verdict::Retain(reason)) => (text(reason)),
            Some(Verdict::Wait { until, reason }) => {
                // The end of the lease is shown in the same row.
                @if !matches!(reason, Reason::LiveLease { .. }) { (text(reason)) "; " }
                "goes " (moment(*until, now)) " at the earliest"
            },
        }
    }
}

fn lease(listed: &Listed, now: Timestamp) -> Markup {
    let candidate = &listed.candidate;
    match Lease::read(|key| candidate.annotation(key)) {
        Ok(Some(lease)) => {
            let (end, renewed) = (lease.expires_at.timestamp(), lease.updated_at.timestamp());
            html! {
                @if end > now { "ends " } @else { "ended " } (moment(end, now))
                ", renewed " (relative(renewed, now)) " for " (lease.ttl)
            }
        }
        Ok(None) => html! { "there is none" },
        Err(error) => html! { "there is none that can be read: " (error.key()) },
    }
}

fn baseline(listed: &Listed, now: Timestamp) -> Markup {
    let annotation = |key| listed.candidate.annotation(key);
    html! {
        @if let Some(since) = annotation(keys::BASELINE_READY_AT) { "ready since " (format_time(since, now)) }
        @else if let Some(waits) = annotation(keys::BASELINE_WAITS_FOR) { "waits for " bdi { (plain(waits)) } }
        @else { "not ready yet" }
        @if let Some(since) = annotation(keys::QUOTA_PENDING_SINCE) { "; pending since " (format_time(since, now)) }
    }
}

/// A time from an annotation, or the text if it is not a time.
fn format_time(text: &str, now: Timestamp) -> Markup {
    let time = text.parse::<Timestamp>().ok();
    html! { @if let Some(time) = time { (moment(time, now)) } @else { bdi { (plain(text)) } } }
}
