//! What the webhooks have denied in the last hour, from what each of them has counted since it began. Pure.
//!
//! A counter says nothing of when. So each webhook is asked again and again, and what its counters have grown by is
//! what was denied in between. Before the second look nothing is known, and a webhook that ends takes with it what it
//! has denied since the last look: the figures are "at least".

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// For how long is looked back.
pub const SPAN: SignedDuration = SignedDuration::from_hours(1);
/// Looks that are kept of one webhook: more than there are in [`SPAN`].
const MOST_LOOKS: usize = 128;
/// Webhooks that are remembered at a time.
const MOST_SOURCES: usize = 64;
/// The metric.
const METRIC: &str = "codex_k8s_webhook_decisions_total{";

/// Denials: what was to be stored, and what was only tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// Requests that were to be stored.
    pub denied: u64,
    /// Dry runs.
    pub dry_run: u64,
}

/// What a webhook has counted since it began, by rule.
pub type Counted = BTreeMap<String, Count>;

/// What one look has found: each webhook that was asked, and what it has counted, or why it did not say.
pub type Look = Vec<(String, Result<Counted, String>)>;

/// What was denied in the last hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hour {
    /// When the first of two looks was that can be compared; `None` if there were no two.
    pub since: Option<Timestamp>,
    /// When was last looked.
    pub looked_at: Option<Timestamp>,
    /// Webhooks that answered then.
    pub answered: usize,
    /// Those that did not, and why; or why there was nobody to ask.
    pub failed: Vec<(String, String)>,
    /// The denials by rule, the most first.
    pub rules: Vec<(String, Count)>,
}

/// The looks of the last hour.
#[derive(Debug, Default)]
pub struct Ring {
    sources: BTreeMap<String, VecDeque<(Timestamp, Counted)>>,
    looked_at: Option<Timestamp>,
    answered: usize,
    failed: Vec<(String, String)>,
}

impl Ring {
    /// Notes a look. Looks older than an hour are forgotten, save the latest of them, which the next is compared with.
    pub fn note(&mut self, now: Timestamp, look: Look) {
        self.looked_at = Some(now);
        (self.answered, self.failed) = (0, Vec::new());
        for (source, found) in look {
            match found {
                Ok(counted) => {
                    self.answered += 1;
                    if self.sources.len() < MOST_SOURCES || self.sources.contains_key(&source) {
                        self.sources.entry(source).or_default().push_back((now, counted));
                    }
                }
                Err(why) => self.failed.push((source, why)),
            }
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Timestamp) {
        for looks in self.sources.values_mut() {
            while looks.len() > MOST_LOOKS || looks.get(1).is_some_and(|(at, _)| is_over(*at, now)) {
                looks.pop_front();
            }
        }
        self.sources.retain(|_, looks| looks.back().is_some_and(|(at, _)| !is_over(*at, now)));
    }

    /// The last hour.
    pub fn hour(&self, now: Timestamp) -> Hour {
        let mut rules = BTreeMap::<&str, Count>::new();
        let mut since = None;
        for looks in self.sources.values() {
            let pairs = looks.iter().zip(looks.iter().skip(1)).filter(|(_, (at, _))| !is_over(*at, now));
            for ((before_at, before), (_, after)) in pairs {
                since = Some(since.map_or(*before_at, |since: Timestamp| since.min(*before_at)));
                for (rule, count) in after {
                    let grown = grown(before.get(rule).copied().unwrap_or_default(), *count);
                    let sum = rules.entry(rule).or_default();
                    sum.denied = sum.denied.saturating_add(grown.denied);
                    sum.dry_run = sum.dry_run.saturating_add(grown.dry_run);
                }
            }
        }
        let mut rules: Vec<_> = rules.into_iter().filter(|(_, count)| *count != Count::default()).collect();
        rules.sort_by(|(one, of_one), (other, of_other)| of_other.cmp(of_one).then_with(|| one.cmp(other)));
        Hour {
            since,
            looked_at: self.looked_at,
            answered: self.answered,
            failed: self.failed.clone(),
            rules: rules.into_iter().map(|(rule, count)| (rule.to_owned(), count)).collect(),
        }
    }
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > SPAN
}

/// What was counted between two looks. A counter that has fallen has begun anew.
const fn grown(before: Count, after: Count) -> Count {
    const fn of(before: u64, after: u64) -> u64 {
        if after >= before { after - before } else { after }
    }
    Count { denied: of(before.denied, after.denied), dry_run: of(before.dry_run, after.dry_run) }
}

/// Reads denials out of what a webhook exposes; lines of other metrics, and those that cannot be read, are passed over.
pub fn read(exposition: &str) -> Counted {
    let mut counted = Counted::new();
    for (labels, value) in exposition.lines().filter_map(decision) {
        let label = |name: &str| labels.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        let (Some(rule), Some("denied")) = (label("rule"), label("outcome")) else { continue };
        // So that nobody fills our memory, or the page, with texts of theirs.
        if rule.len() > 16 || !rule.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            continue;
        }
        let count = counted.entry(rule.to_owned()).or_default();
        let sum = if label("dry_run") == Some("true") { &mut count.dry_run } else { &mut count.denied };
        *sum = sum.saturating_add(value);
    }
    counted
}

/// The labels and the value of a line. No value of a label of ours has a comma or a quotation mark in it.
fn decision(line: &str) -> Option<(Vec<(&str, &str)>, u64)> {
    let (labels, value) = line.strip_prefix(METRIC)?.split_once("} ")?;
    let label = |pair| -> Option<(&str, &str)> {
        let (name, value) = str::split_once(pair, '=')?;
        Some((name, value.strip_prefix('"')?.strip_suffix('"')?))
    };
    Some((labels.split(',').filter_map(label).collect(), value.split(' ').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn counted(rules: &[(&str, u64)]) -> Counted {
        rules
            .iter()
            .map(|(rule, denied)| ((*rule).to_owned(), Count { denied: *denied, dry_run: 0 }))
            .collect()
    }

    fn look(source: &str, rules: &[(&str, u64)]) -> Look {
        vec![(source.to_owned(), Ok(counted(rules)))]
    }

    fn told(hour: &Hour) -> Vec<(&str, u64)> {
        hour.rules.iter().map(|(rule, count)| (&**rule, count.denied)).collect()
    }

    #[test]
    fn what_counters_have_grown_by_was_denied_and_nothing_is_known_before_the_second_look() {
        let mut ring = Ring::default();
        assert_eq!(ring.hour(at(0)), Hour::default());
        ring.note(at(0), look("a", &[("JOB004", 700)]));
        assert_eq!((ring.hour(at(0)).since, ring.hour(at(0)).answered), (None, 1));
        ring.note(at(1), look("a", &[("JOB004", 702), ("NS001", 5)]));
        let hour = ring.hour(at(1));
        assert_eq!((told(&hour), hour.since), (vec![("NS001", 5), ("JOB004", 2)], Some(at(0))));
    }

    #[test]
    fn a_webhook_that_was_restarted_counts_from_0_on() {
        let mut ring = Ring::default();
        for (minute, denied) in [(0, 100), (1, 110), (2, 3), (3, 4)] {
            ring.note(at(minute), look("a", &[("NS001", denied)]));
        }
        assert_eq!(told(&ring.hour(at(3))), [("NS001", 14)]);
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten_and_the_figures_of_several_webhooks_are_added() {
        let mut ring = Ring::default();
        for minute in 0..=180 {
            let of = |source: &str, times: u64| {
                (source.to_owned(), Ok(counted(&[("NS001", u64::try_from(minute).unwrap() * times)])))
            };
            ring.note(at(minute), vec![of("a", 1), of("b", 2)]);
        }
        let hour = ring.hour(at(180));
        // 61 differences end in the last hour, its first minute included.
        assert_eq!((told(&hour), hour.since), (vec![("NS001", 61 * 3)], Some(at(119))));
        assert_eq!(told(&ring.hour(at(240))), [("NS001", 3)], "nobody has looked since");
        assert_eq!(ring.hour(at(241)).since, None, "and an hour later nothing is known again");
        ring.note(at(300), look("c", &[]));
        assert_eq!(ring.sources.keys().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn who_does_not_answer_is_told_and_what_was_known_of_it_stays() {
        let mut ring = Ring::default();
        ring.note(at(0), look("a", &[("NS001", 1)]));
        ring.note(at(1), look("a", &[("NS001", 2)]));
        ring.note(at(2), vec![("a".to_owned(), Err("refused".to_owned()))]);
        let hour = ring.hour(at(2));
        assert_eq!((told(&hour), hour.answered), (vec![("NS001", 1)], 0));
        assert_eq!(hour.failed, [("a".to_owned(), "refused".to_owned())]);
        ring.note(at(5), look("a", &[("NS001", 9)]));
        assert_eq!(told(&ring.hour(at(5))), [("NS001", 8)], "what was denied meanwhile is not lost");
    }

    #[test]
    fn denials_are_read_by_rule_and_what_was_only_tried_apart() {
        let line = |rule: &str, dry_run: &str, outcome: &str, value: &str| {
            format!(
                "codex_k8s_webhook_decisions_total{{entry=\"validate\",rule=\"{rule}\",operation=\"CREATE\",kind=\"Job\",\
                 dry_run=\"{dry_run}\",outcome=\"{outcome}\"}} {value}\n"
            )
        };
        let text = [
            line("JOB004", "false", "denied", "3"),
            line("JOB004", "true", "denied", "2"),
            line("JOB004", "false", "warned", "9"),
            line("NS001", "false", "denied", "4 1700000000"),
            line("<script>", "false", "denied", "1"),
            line("NS002", "false", "denied", "many"),
            "codex_k8s_webhook_panics_total 7\n# EOF\n".to_owned(),
        ];
        let expected =
            [("JOB004", Count { denied: 3, dry_run: 2 }), ("NS001", Count { denied: 4, dry_run: 0 })];
        assert_eq!(read(&text.concat()), expected.map(|(rule, count)| (rule.to_owned(), count)).into());
    }

    proptest! {
        #[test]
        fn whatever_is_exposed_is_read_without_harm(text in ".*", labels in ".*") {
            let _ = read(&text);
            let _ = read(&format!("{METRIC}{labels}"));
        }

        #[test]
        fn nothing_is_told_that_was_not_counted(counts in prop::collection::vec(0..50u64, 1..90)) {
            let mut ring = Ring::default();
            for (minute, count) in (0..).zip(&counts) {
                ring.note(at(minute), look("a", &[("NS001", *count)]));
            }
            let told = ring.hour(at(89)).rules.iter().map(|(_, count)| count.denied).sum::<u64>();
            prop_assert!(told <= counts.iter().sum());
        }
    }
}
