//! The summary at the top of the page.

use jiff::Timestamp;
use maud::{Markup, html};

use super::parts::{plain, section as with_heading};
use crate::page::model::{Known, Model, State};
use crate::times::relative;

/// A figure and a comment on it, or the reason for which it is unknown.
type Figure = Known<(String, String)>;

/// The whole section.
pub(super) fn section(model: &Model, now: Timestamp) -> Markup {
    let figures = [
        ("Namespaces", "namespaces", namespaces(model)),
        ("Fullest limit", "quotas", quota_usage(model)),
        ("Last sweep", "sweep", sweep(model, now)),
    ];
    let content = html! {
        dl.summary {
            @for (what, id, figure) in figures {
                div {
                    dt { a href={"#" (id)} { (what) } }
                    @match figure {
                        Ok((figure, note)) => { dd.figure { (figure) } dd { (plain(&note)) } },
                        Err(note) => { dd.figure.unknown { "not known" } dd { (plain(&note)) } },
                    }
                }
            }
        }
    };
    with_heading("glance", "At a glance", &content)
}

fn namespaces(model: &Model) -> Figure {
    let found = model.namespaces.as_ref().map_err(|_| "they cannot be listed".to_owned())?;
    let count = |state| found.listed.iter().filter(|listed| listed.state() == state).count();
    let note = match found.undecided {
        Some(_) => "nothing is decided about them".to_owned(),
        None => format!("{} due, {} in need of attention", count(State::Due), count(State::NeedsAttention)),
    };
    Ok((found.listed.len().to_string(), note))
}

fn quota_usage(model: &Model) -> Figure {
    let usage = model.quota_usage.as_ref().map_err(|_| "reservations cannot be counted".to_owned())?;
    let fullest = usage.iter().find_map(|usage| Some((usage, usage.limit?, usage.percent()?)));
    Ok(match fullest {
        Some((usage, limit, percent)) => {
            (format!("{percent} %"), format!("{} of {limit}: {}", usage.held, usage.scope))
        }
        None => ("none".to_owned(), "the policy limits nothing".to_owned()),
    })
}

fn sweep(model: &Model, now: Timestamp) -> Figure {
    let last = model.sweep.as_ref().map_err(|_| "its outcome cannot be read".to_owned())?;
    let next = match model.next {
        None => "no next one".to_owned(),
        // It has begun, or waits until it may.
        Some(next) if next <= now => "the next one is due".to_owned(),
        Some(next) => format!("the next one {}", relative(next, now)),
    };
    Ok(match last {
        None => ("none yet".to_owned(), next),
        Some(last) => {
            let ended =
                last.finished_at.map_or_else(String::new, |ended| format!("{}, ", relative(ended, now)));
            (last.result.as_str().to_owned(), format!("{ended}{next}"))
        }
    })
}
