//! Parts that several sections use.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::times::{relative, whole};

/// The maximum length of a text from the cluster, in characters.
const LONGEST: usize = 300;

/// A text from the cluster in a form that is safe to show: cut, and with a mark in place of each character that is
/// invisible or reverses the direction of the text after it.
pub(super) fn plain(text: &str) -> String {
    let hides = |character: char| {
        character.is_control()
            || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|character| if hides(character) { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// A time: relative, and absolute.
pub(super) fn moment(time: Timestamp, now: Timestamp) -> Markup {
    html! { (relative(time, now)) " " span.when { "(" (clock(time, now)) ")" } }
}

/// A time of day, in UTC, with the date if it is not today.
fn clock(time: Timestamp, now: Timestamp) -> Markup {
    let date = |time: Timestamp| time.strftime("%Y-%m-%d ").to_string();
    let date = Some(date(time)).filter(|found| *found != date(now)).unwrap_or_default();
    html! { time datetime=(whole(time)) { (date) (time.strftime("%H:%M UTC")) } }
}

/// The reason for which something is not shown.
pub(super) fn unknown(what: &str, why: &str) -> Markup {
    html! { p.unknown { strong { "Not known: " } (what) ". " (plain(why)) } }
}

/// A warning.
pub(super) fn warning(what: &str) -> Markup {
    html! { p.warning { strong { "Look: " } (plain(what)) } }
}

/// A section with a heading.
pub(super) fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={(id) "-heading"} {
            h2 id={(id) "-heading"} { (heading) }
            (content)
        }
    }
}

/// The head of a table.
///
/// On a narrow screen its rows become cards. Some browsers do not expose elements to screen readers as a table if
/// they are not laid out as one, unless they have roles: hence the roles of tables, rows and cells here.
pub(super) fn head(columns: &[(&str, bool)]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for (name, is_number) in columns {
                    th role="columnheader" scope="col" .number[*is_number] { (name) }
                }
            }
        }
    }
}

/// A cell, with the name of its column for a layout without a head.
pub(super) fn cell(column: &str, content: &Markup) -> Markup {
    html! { td role="cell" data-label=(column) { (content) } }
}

/// A cell with a number.
pub(super) fn number(column: &str, number: impl maud::Render) -> Markup {
    html! { td.number role="cell" data-label=(column) { (number) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_what_stands_beside_it_is_marked_and_what_is_long_is_cut() {
        assert_eq!(
            plain("a\u{202e}b\u{0}c\u{200b}d\u{feff}\n"),
            "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\u{fffd}"
        );
        assert_eq!(
            plain("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{5e9} &<"),
            "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{5e9} &<"
        );
        assert_eq!(plain(&"x".repeat(LONGEST + 1)).chars().count(), LONGEST + 1);
        assert_eq!(plain(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }

    #[test]
    fn a_time_is_reported_by_distance_and_by_the_clock_with_the_date_if_that_is_another() {
        let now = "2026-02-01T12:00:00.5Z".parse().unwrap();
        let shown = |time: &str| moment(time.parse().unwrap(), now).into_string();
        let today =
            "in 42m <span class=\"when\">(<time datetime=\"2026-02-01T12:43:00Z\">12:43 UTC</time>)</span>";
        assert_eq!(shown("2026-02-01T12:43:00Z"), today);
        assert!(shown("2026-02-02T12:43:00Z").contains(">2026-02-02 12:43 UTC</time>"));
    }
}
