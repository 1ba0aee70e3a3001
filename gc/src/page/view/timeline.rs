//! Leases as bars on one time line.
//!
//! A thin line is the lifetime of a namespace so far, a bar its lease from the last renewal to its end: the elapsed
//! part, and the rest. The same facts are in the text of the row, so it is hidden from screen readers.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use codex_k8s_shared::hold::Hold;
use codex_k8s_shared::keys;

use crate::page::model::Listed;

/// The width of the picture, in its own units.
const WIDTH: i64 = 1000;
/// The minimum that is shown on either side of now.
const LEAST: SignedDuration = SignedDuration::from_hours(1);
/// The maximum.
const MOST: SignedDuration = SignedDuration::from_hours(48);

/// The time range that all bars of a table share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
}

/// A rectangle: its start and its width.
type Span = (i64, i64);

impl Window {
    /// The range that shows the lifetimes and leases of these namespaces.
    pub(super) fn of(shown: &[&Listed], now: Timestamp) -> Self {
        let past =
            shown.iter().filter_map(|listed| begun(listed)).map(|begun| now.duration_since(begun)).max();
        let future = shown.iter().filter_map(|listed| listed.ends()).map(|end| end.duration_since(now)).max();
        Self {
            from: now.checked_sub(hours(past)).unwrap_or(Timestamp::MIN),
            to: now.checked_add(hours(future)).unwrap_or(Timestamp::MAX),
            now,
        }
    }

    /// The start and the end, in hours from now.
    pub(super) fn hours(&self) -> (i64, i64) {
        (self.now.duration_since(self.from).as_hours(), self.to.duration_since(self.now).as_hours())
    }

    fn at(&self, time: Timestamp) -> i64 {
        let whole = self.to.duration_since(self.from).as_secs().max(1);
        (time.duration_since(self.from).as_secs().clamp(0, whole)) * WIDTH / whole
    }

    fn span(&self, from: Timestamp, to: Timestamp) -> Option<Span> {
        let (from, to) = (self.at(from), self.at(to));
        (to > from).then_some((from, to - from))
    }

    /// The bar of a namespace.
    pub(super) fn bar(&self, listed: &Listed) -> Markup {
        let lease = listed.candidate.lease();
        let (renewed, end) = (
            lease.map(|lease| lease.updated_at.timestamp()),
            lease.map(|lease| lease.expires_at.timestamp()),
        );
        let lease = renewed.zip(end);
        let life = begun(listed).and_then(|begun| self.span(begun, self.now));
        let spent = lease.and_then(|(renewed, end)| self.span(renewed, end.min(self.now)));
        let left = lease.and_then(|(renewed, end)| self.span(renewed.max(self.now), end));
        let over = end.and_then(|end| self.span(end, self.now));
        let retained = hold(listed).and_then(|until| self.span(self.now, until));
        html! {
            svg.bar viewBox={"0 0 " (WIDTH) " 20"} preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                (rectangle("life", life, 9, 2))
                (rectangle("spent", spent, 5, 10))
                (rectangle("over", over, 8, 4))
                (rectangle("left", left, 5, 10))
                (rectangle("hold", retained, 16, 3))
                (rectangle("now", Some((self.at(self.now) - 1, 3)), 0, 20))
            }
        }
    }
}

fn begun(listed: &Listed) -> Option<Timestamp> {
    let renewed = listed.candidate.lease().map(|lease| lease.updated_at.timestamp());
    listed.candidate.created_at.into_iter().chain(renewed).min()
}

fn hold(listed: &Listed) -> Option<Timestamp> {
    listed.candidate.annotation(keys::HOLD)?.parse::<Hold>().ok().map(|hold| hold.until.timestamp())
}

/// Whole hours, within the minimum and the maximum, beyond which an hour would be too narrow to see.
fn hours(span: Option<SignedDuration>) -> SignedDuration {
    let span = span.unwrap_or(LEAST).clamp(LEAST, MOST);
    SignedDuration::from_hours((span.as_secs() + 3599) / 3600)
}

fn rectangle(class: &str, span: Option<Span>, top: u8, height: u8) -> Markup {
    html! {
        @if let Some((x, width)) = span {
            rect class=(class) x=(x) y=(top) width=(width) height=(height) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::cleanup::Candidate;

    use super::*;

    fn listed(updated_at: &str, expires_at: &str) -> Listed {
        let annotations = [
            (keys::NAMESPACE_LEASE_TTL, "1h0m0s"),
            (keys::NAMESPACE_LEASE_UPDATED_AT, updated_at),
            (keys::NAMESPACE_LEASE_EXPIRES_AT, expires_at),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Listed { candidate: Candidate { annotations, ..Candidate::default() }, verdict: None }
    }

    fn now() -> Timestamp {
        "2026-02-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_lease_that_lives_is_spent_up_to_now_and_left_from_there() {
        let listed = listed("2026-02-01T11:30:00Z", "2026-02-01T12:30:00Z");
        let window = Window::of(&[&listed], now());
        assert_eq!(window.hours(), (1, 1));
        let bar = window.bar(&listed).into_string();
        for part in [
            r#"<rect class="life" x="250" y="9" width="250" height="2"></rect>"#,
            r#"<rect class="spent" x="250" y="5" width="250" height="10"></rect>"#,
            r#"<rect class="left" x="500" y="5" width="250" height="10"></rect>"#,
            r#"<rect class="now" x="499" y="0" width="3" height="20"></rect>"#,
        ] {
            assert!(bar.contains(part), "no {part} in {bar}");
        }
        assert!(!bar.contains("over") && bar.contains("aria-hidden=\"true\""), "{bar}");
    }

    #[test]
    fn a_lease_that_has_ended_is_over_since_and_has_nothing_left() {
        let listed = listed("2026-02-01T09:00:00Z", "2026-02-01T10:00:00Z");
        let window = Window::of(&[&listed], now());
        assert_eq!(window.hours(), (3, 1));
        let bar = window.bar(&listed).into_string();
        assert!(bar.contains(r#"class="over" x="250" y="8" width="500""#) && !bar.contains("left"), "{bar}");
    }

    #[test]
    fn one_that_lives_for_years_does_not_make_the_others_too_small_to_be_seen() {
        let long = listed("2020-02-01T09:00:00Z", "2900-02-01T10:00:00Z");
        let window = Window::of(&[&long], now());
        assert_eq!(window.hours(), (48, 48));
        assert!(window.bar(&long).into_string().contains(r#"class="left" x="500" y="5" width="500""#));
        assert_eq!(Window::of(&[], now()).hours(), (1, 1));
    }
}
