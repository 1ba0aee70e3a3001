//! The query of a request to the page: a filter of the namespaces, and a page of the result. Pure.

use codex_k8s_shared::keys;
use codex_k8s_shared::sanitize::LONGEST as LONGEST_LABEL;
use url::form_urlencoded;

use super::model::{Listed, State};

/// The number of namespaces on one page of the result.
pub(crate) const PART: usize = 50;
/// The maximum length of a search text, in characters.
const LONGEST: usize = 100;
/// The names of the parameters.
const NAMES: [&str; 4] = ["state", "project", "text", "page"];

/// A filter of the namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Namespaces in this state.
    pub state: Option<State>,
    /// Namespaces of this project, by their label.
    pub project: String,
    /// Namespaces that contain this text in their name, run, requester, hold or reason, in any case.
    pub text: String,
    /// The page of the result, from 0.
    pub page: usize,
}

/// The namespaces that match a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection<'a> {
    /// The namespaces on this page, in order.
    pub shown: Vec<&'a Listed>,
    /// The number of all namespaces that match.
    pub found: usize,
    /// The page, from 0: the last one if there are fewer than requested.
    pub page: usize,
    /// The number of pages, at least one.
    pub pages: usize,
}

impl Query {
    /// Parses the query of an address. Empty parameters are ignored.
    ///
    /// # Errors
    /// All invalid parameters, each in a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut query, mut wrong, mut seen) = (Self::default(), Vec::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if seen.contains(&name) {
                wrong.push(format!("{name} is given twice; give it once"));
            } else if let Err(problem) = query.take(&name, value.trim()) {
                wrong.push(problem);
            }
            seen.push(name);
        }
        if wrong.is_empty() { Ok(query) } else { Err(wrong) }
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "state" => self.state = state(value)?,
            "project" => self.project = short(name, value, LONGEST_LABEL)?,
            "text" => self.text = short(name, value, LONGEST)?,
            "page" => self.page = page(value)?,
            _ => {
                return Err(format!(
                    "{:?} is nothing that can be asked; expected one of {}",
                    cut(name),
                    NAMES.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The address of the same query with this page of the result. It is relative, so that it works behind a proxy's
    /// prefix.
    pub(crate) fn address(&self, page: usize) -> String {
        let mut address = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        let state = self.state.map_or("", State::code);
        let requested = [("state", state), ("project", &*self.project), ("text", &*self.text)];
        address.extend_pairs(requested.into_iter().filter(|(_, value)| !value.is_empty()));
        if page > 0 {
            address.append_pair("page", &(page + 1).to_string());
        }
        address.finish()
    }

    /// Returns true if there is no filter.
    pub(crate) fn is_for_all(&self) -> bool {
        self.state.is_none() && self.project.is_empty() && self.text.is_empty()
    }

    /// All namespaces that match, ordered by their ends; those without an end are last.
    pub(crate) fn matching<'a>(&self, listed: &'a [Listed]) -> Vec<&'a Listed> {
        let mut found: Vec<_> = listed.iter().filter(|listed| self.lets_through(listed)).collect();
        found.sort_by_cached_key(|listed| {
            let ends = listed.ends();
            (ends.is_none(), ends, listed.candidate.name.clone())
        });
        found
    }

    /// The namespaces of a page of the result.
    pub(crate) fn select<'a>(&self, listed: &'a [Listed]) -> Selection<'a> {
        let found = self.matching(listed);
        let pages = found.len().div_ceil(PART).max(1);
        let page = self.page.min(pages - 1);
        Selection {
            found: found.len(),
            page,
            pages,
            shown: found.into_iter().skip(page * PART).take(PART).collect(),
        }
    }

    fn lets_through(&self, listed: &Listed) -> bool {
        let project = listed.candidate.label(keys::PROJECT_ID).unwrap_or_default();
        self.state.is_none_or(|state| state == listed.state())
            && (self.project.is_empty() || self.project == project)
            && (self.text.is_empty() || has(listed, &self.text.to_lowercase()))
    }
}

fn has(listed: &Listed, text: &str) -> bool {
    let candidate = &listed.candidate;
    let annotations = [keys::REQUESTED_BY, keys::HOLD].map(|key| candidate.annotation(key));
    let texts =
        [Some(&*candidate.name), candidate.label(keys::RUN_ID)].into_iter().chain(annotations).flatten();
    let reason = listed.verdict.as_ref().map(|verdict| verdict.reason().to_string());
    texts.chain(reason.as_deref()).any(|found| found.to_lowercase().contains(text))
}

fn state(value: &str) -> Result<Option<State>, String> {
    let known = State::ALL.into_iter().find(|state| state.code() == value);
    if known.is_some() || value.is_empty() {
        return Ok(known);
    }
    let codes = State::ALL.map(State::code).join(", ");
    Err(format!("state {:?} is none; expected one of {codes}", cut(value)))
}

fn short(name: &str, value: &str, longest: usize) -> Result<String, String> {
    if value.chars().count() <= longest {
        return Ok(value.to_owned());
    }
    Err(format!("{name} is longer than {longest} characters"))
}

fn page(value: &str) -> Result<usize, String> {
    match value.parse::<u16>() {
        _ if value.is_empty() => Ok(0),
        Ok(page) if page > 0 => Ok(usize::from(page) - 1),
        _ => Err(format!("page {:?} is none; expected a number from 1 on", cut(value))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::cleanup::{Candidate, Reason, Verdict};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn listed(name: &str, project: &str, until: i64) -> Listed {
        let until = Timestamp::from_second(until).unwrap();
        let labels = [(keys::PROJECT_ID, project), (keys::RUN_ID, "run-1")];
        Listed {
            candidate: Candidate {
                name: name.to_owned(),
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..Candidate::default()
            },
            verdict: Some(Verdict::Wait { until, reason: Reason::Grace }),
        }
    }

    fn names(query: &str, listed: &[Listed]) -> Vec<String> {
        let query = Query::parse(query).unwrap();
        query.select(listed).shown.iter().map(|listed| listed.candidate.name.clone()).collect()
    }

    #[test]
    fn what_ends_first_comes_first_and_what_is_not_requested_for_is_left_out() {
        let mut all =
            vec![listed("b", "p1", 20), listed("a", "p1", 20), listed("c", "p2", 10), listed("d", "p2", 1)];
        all[3].verdict = None;
        assert_eq!(names("", &all), ["c", "a", "b", "d"]);
        assert_eq!(names("project=p1", &all), ["a", "b"]);
        assert_eq!(names("state=undecided&text=", &all), ["d"]);
        assert_eq!(names("text=JUST+ENDED", &all), ["c", "a", "b"], "a reason is looked through, too");
        assert_eq!(names("text=run-1&project=p2&state=retained", &all), ["c"]);
    }

    #[test]
    fn two_thousand_are_shown_in_parts_and_a_part_beyond_the_last_is_the_last() {
        let all: Vec<_> = (0..2000).map(|number| listed(&format!("n{number}"), "p", number)).collect();
        assert_eq!(names("page=2", &all).first().unwrap(), "n50");
        let last = Query { page: 99, ..Query::default() };
        let last = last.select(&all);
        assert_eq!((last.page, last.pages, last.found, last.shown.len()), (39, 40, 2000, PART));
        let none = Query::default();
        assert_eq!((none.select(&[]).page, none.select(&[]).pages), (0, 1));
    }

    #[test]
    fn what_cannot_be_requested_is_reported_with_what_can() {
        for (query, expected) in [
            ("state=gone", "state \"gone\" is none; expected one of due, "),
            ("page=0", "page \"0\" is none; expected a number from 1 on"),
            ("page=-1", "page \"-1\" is none"),
            ("page=99999999", "is none"),
            ("stat=due", "\"stat\" is nothing that can be asked; expected one of state, project, text, page"),
            ("state=due&state=live", "state is given twice"),
            (&format!("text={}", "x".repeat(101)), "text is longer than 100 characters"),
        ] {
            let wrong = Query::parse(query).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(expected), "{query}: {wrong:?}");
        }
        assert_eq!(Query::parse("a=1&page=x").unwrap_err().len(), 2, "all of it is told at once");
    }

    proptest! {
        #[test]
        fn an_address_parses_into_the_query_that_it_was_made_of(state in 0..9usize, project in "[ -~]{0,63}", text in ".{0,100}", page in 0..9usize) {
            let state = State::ALL.get(state).copied();
            let query = Query { state, project: project.trim().to_owned(), text: text.trim().to_owned(), page };
            let address = query.address(page);
            prop_assert_eq!(Query::parse(address.strip_prefix('?').unwrap()), Ok(query));
        }

        #[test]
        fn whatever_is_requested_is_answered(query in ".*") {
            let _ = Query::parse(&query);
        }
    }
}
