//! All checks together, and their comparison with the limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use crate::config::{Limits, Rules};
use crate::problem::Problem;
use crate::repository::Repository;
use crate::{arrows, circles, functions, identifiers, prose, summaries};

/// The file of the limits, from the root of the repository.
pub const LIMITS_FILE: &str = "tests/lint/limits.toml";

/// The percentage of question summaries may be below its limit by this much: it moves with every comment.
const PERCENT_TOLERANCE: f64 = 1.0;

/// The problems that each check found.
#[derive(Debug, Default)]
pub struct Findings {
    /// The figures, in the form of limits.
    pub figures: Limits,
    /// Problems for which there is no limit.
    pub other: Vec<Problem>,
    circles: Vec<Problem>,
    long_functions: Vec<Problem>,
    question_summaries: Vec<Problem>,
    arrows: BTreeMap<String, Vec<Problem>>,
    prose: BTreeMap<String, Vec<Problem>>,
    names: BTreeMap<String, Vec<Problem>>,
}

impl Findings {
    /// Makes all checks.
    pub fn collect(repository: &Repository, rules: &Rules) -> Self {
        let mut findings = Self {
            other: arrows::modules_without_room(repository, rules),
            arrows: arrows::forbidden(repository, rules),
            prose: prose::uses(repository, rules),
            names: identifiers::uses(repository, rules),
            ..Self::default()
        };
        findings.figures.arrows = findings.arrows.keys().cloned().collect();
        findings.figures.prose = counts(&findings.prose);
        findings.figures.names = counts(&findings.names);
        findings.add_circles(repository);
        findings.add_functions(repository, rules);
        findings.add_summaries(repository, rules);
        findings
    }

    /// Adds the circles of all crates, small ones first: a new circle is rarely the largest.
    fn add_circles(&mut self, repository: &Repository) {
        let mut circles = Vec::new();
        for member in &repository.crates {
            let edges = circles::counted(circles::edges(&member.tree));
            let found = circles::circles(&edges);
            circles
                .extend(found.into_iter().map(|circle| (circle.len(), circles::problems(&circle, &edges))));
        }
        circles.sort();
        self.figures.circles = circles.len();
        self.figures.files_in_circles = circles.iter().map(|(files, _)| files).sum();
        self.circles = circles.into_iter().flat_map(|(_, problems)| problems).collect();
    }

    fn add_functions(&mut self, repository: &Repository, rules: &Rules) {
        for source in repository.crates.iter().flat_map(|member| member.sources.values()) {
            self.long_functions.extend(functions::long_functions(source, rules.longest_function));
        }
        self.figures.long_functions = self.long_functions.len();
    }

    fn add_summaries(&mut self, repository: &Repository, rules: &Rules) {
        let mut all = 0;
        for source in repository.crates.iter().flat_map(|member| member.sources.values()) {
            let (problems, count) = summaries::question_summaries(source, rules);
            self.question_summaries.extend(problems);
            all += count;
        }
        self.figures.question_summaries = percentage(self.question_summaries.len(), all);
    }

    /// Compares the figures with their limits: the result is empty if all are met.
    pub fn compare(&self, limits: &Limits) -> Vec<Difference> {
        let figures = &self.figures;
        let is_listed = figures.circles > limits.circles;
        let files = if is_listed { &[] } else { self.circles.as_slice() };
        let mut differences: Vec<_> = [
            compare("circles", figures.circles, limits.circles, &self.circles),
            compare("files_in_circles", figures.files_in_circles, limits.files_in_circles, files),
            compare("long_functions", figures.long_functions, limits.long_functions, &self.long_functions),
            self.compare_summaries(limits.question_summaries),
        ]
        .into_iter()
        .flatten()
        .collect();
        differences.extend(compare_arrows(&self.arrows, &limits.arrows));
        differences.extend(compare_counts("prose", &self.prose, &limits.prose));
        differences.extend(compare_counts("names", &self.names, &limits.names));
        if !self.other.is_empty() {
            differences
                .push(Difference::Excess { heading: "not allowed".to_owned(), problems: self.other.clone() });
        }
        differences
    }

    fn compare_summaries(&self, limit: f64) -> Option<Difference> {
        let figure = self.figures.question_summaries;
        if figure > limit {
            let heading = exceeded("question_summaries", &percent(figure), &percent(limit));
            return Some(Difference::Excess { heading, problems: self.question_summaries.clone() });
        }
        (figure < limit - PERCENT_TOLERANCE)
            .then(|| Difference::Slack { key: "question_summaries".to_owned(), advice: lower(figure) })
    }
}

/// A figure that is not at its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Above it: the cause is among the problems.
    Excess {
        /// The figure and its limit.
        heading: String,
        /// The problems that the figure counts.
        problems: Vec<Problem>,
    },
    /// Below it: the limit should follow.
    Slack {
        /// The limit.
        key: String,
        /// The fix.
        advice: String,
    },
}

fn counts(found: &BTreeMap<String, Vec<Problem>>) -> BTreeMap<String, usize> {
    let used = found.iter().filter(|(_, problems)| !problems.is_empty());
    used.map(|(word, problems)| (word.clone(), problems.len())).collect()
}

/// A share in percent, rounded up to one decimal.
#[expect(clippy::cast_precision_loss, reason = "a count of comments is small")]
pub fn percentage(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 * 1000.0 / all as f64).ceil() / 10.0 }
}

fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

fn exceeded(key: &str, figure: &str, limit: &str) -> String {
    format!("{key}: {figure}, more than the limit {limit} in {LIMITS_FILE}")
}

fn lower(figure: impl Display) -> String {
    format!("lower the limit to {figure}")
}

fn compare(key: &str, figure: usize, limit: usize, problems: &[Problem]) -> Option<Difference> {
    if figure > limit {
        let heading = exceeded(key, &figure.to_string(), &limit.to_string());
        return Some(Difference::Excess { heading, problems: problems.to_vec() });
    }
    (figure < limit).then(|| Difference::Slack { key: key.to_owned(), advice: lower(figure) })
}

fn compare_counts(
    section: &str,
    found: &BTreeMap<String, Vec<Problem>>,
    limits: &BTreeMap<String, usize>,
) -> Vec<Difference> {
    let limit = |word: &str| limits.get(word).copied().unwrap_or(0);
    let known = found
        .iter()
        .filter_map(|(word, uses)| compare(&format!("{section}.{word}"), uses.len(), limit(word), uses));
    let unknown = limits.keys().filter(|word| !found.contains_key(*word)).map(|word| Difference::Slack {
        key: format!("{section}.{word}"),
        advice: "remove the limit: the rules do not name the word".to_owned(),
    });
    known.chain(unknown).collect()
}

fn compare_arrows(found: &BTreeMap<String, Vec<Problem>>, allowed: &BTreeSet<String>) -> Vec<Difference> {
    let new = found.iter().filter(|(name, _)| !allowed.contains(*name)).map(|(name, problems)| {
        let heading = format!("arrows: {name} is not allowed, and not in {LIMITS_FILE}");
        Difference::Excess { heading, problems: problems.clone() }
    });
    let gone = allowed.iter().filter(|name| !found.contains_key(*name)).map(|name| Difference::Slack {
        key: name.clone(),
        advice: "remove it from the arrows: there is no such use".to_owned(),
    });
    new.chain(gone).collect()
}

/// The differences as a person reads them.
pub struct Report<'a> {
    /// The differences.
    pub differences: &'a [Difference],
    /// The text of the limits, to name the lines.
    pub limits: &'a str,
    /// The files whose problems are listed first.
    pub changed: &'a BTreeSet<String>,
    /// The most problems to list for one figure.
    pub max_problems: usize,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in self.differences {
            match difference {
                Difference::Excess { heading, problems } => self.write_excess(f, heading, problems)?,
                Difference::Slack { key, advice } => {
                    writeln!(f, "{LIMITS_FILE}:{}: {key}: {advice}", line_of(self.limits, key))?;
                }
            }
        }
        Ok(())
    }
}

impl Report<'_> {
    fn write_excess(&self, f: &mut fmt::Formatter<'_>, heading: &str, problems: &[Problem]) -> fmt::Result {
        writeln!(f, "{heading}")?;
        let (first, rest): (Vec<_>, Vec<_>) =
            problems.iter().partition(|problem| self.changed.contains(&problem.file));
        for problem in first.into_iter().chain(rest).take(self.max_problems) {
            writeln!(f, "  {problem}")?;
        }
        match problems.len().saturating_sub(self.max_problems) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more: `codex-k8s-lint --all` lists them"),
        }
    }
}

/// The line of a limit (`circles`, `names.place`, or an arrow) in the text of the limits.
fn line_of(limits: &str, key: &str) -> usize {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let header = format!("[{section}]");
    let start = limits.lines().position(|line| line == header).unwrap_or(0);
    let is_it = |line: &str| line.starts_with(&format!("{name} =")) || line.contains(&format!("{name:?}"));
    limits.lines().skip(start).position(is_it).map_or(start + 1, |line| start + line + 1)
}
