//! A report as workflow commands, which GitHub shows as annotations beside the lines of a change.

use std::fmt::Write as _;

use codex_k8s_webhook::check::{Judgement, Problem, Report, Severity};

use super::human;

/// The report: each problem is an annotation, and the summary a line of the log.
pub(super) fn told(report: &Report) -> String {
    let mut text = String::new();
    for judgement in &report.objects {
        for problem in &judgement.problems {
            let _ = writeln!(text, "{}", annotation(judgement, problem));
        }
        if let Some(message) = judgement.message.as_ref().filter(|_| judgement.problems.is_empty()) {
            let place = place(judgement, None).map(|place| format!(" {place}")).unwrap_or_default();
            let _ = writeln!(text, "::error{place}::{}", data(message));
        }
    }
    text.push_str(&human::summary(&report.summary));
    text
}

fn annotation(judgement: &Judgement, problem: &Problem) -> String {
    let command = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = place(judgement, Some(problem)).map(|place| format!("{place},")).unwrap_or_default();
    let title = format!("{}: {}", problem.rule, problem.title);
    let title = property(&title);
    let text = format!("{}: {problem}", judgement.what());
    format!("::{command} {place}title={title}::{}", data(&text))
}

/// Where it stands; nowhere, if it stands in a live cluster.
fn place(judgement: &Judgement, problem: Option<&Problem>) -> Option<String> {
    let file = Some(&judgement.file).filter(|file| !file.is_empty()).map(|file| property(file))?;
    Some(match problem.and_then(|problem| problem.place.as_ref()) {
        Some(place) => {
            format!("file={file},line={},col={},endColumn={}", place.line, place.column, place.end_column())
        }
        None => format!("file={file},line={}", judgement.line),
    })
}

/// The text of a command. Its reader takes back these three and no other.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command, which must not end early.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
