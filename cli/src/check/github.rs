//! Report as workflow commands, which GitHub shows as annotations of the lines of a change.

use std::fmt::Write as _;

use codex_k8s_webhook::check::{Assumption, Evaluation, Problem, Report, Severity};

use super::human;

/// Formats the report: each problem is an annotation, and the summary a line of the log.
pub(super) fn format_report(report: &Report) -> String {
    let mut text = String::new();
    for evaluation in &report.objects {
        for problem in &evaluation.problems {
            let _ = writeln!(text, "{}", annotation(evaluation, problem));
        }
        if let Some(message) = evaluation.message.as_ref().filter(|_| evaluation.problems.is_empty()) {
            let position =
                position(evaluation, None).map(|position| format!(" {position}")).unwrap_or_default();
            let _ = writeln!(text, "::error{position}::{}", data(message));
        }
        if let Some(assumption) = &evaluation.assumption {
            let _ = writeln!(text, "{}", note(evaluation, assumption));
        }
    }
    text.push_str(&human::summary(report));
    text
}

fn annotation(evaluation: &Evaluation, problem: &Problem) -> String {
    let command = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let position =
        position(evaluation, Some(problem)).map(|position| format!("{position},")).unwrap_or_default();
    let title = format!("{}: {}", problem.rule, problem.title);
    let title = property(&title);
    let text = format!("{}: {problem}", evaluation.what());
    format!("::{command} {position}title={title}::{}", data(&text))
}

fn note(evaluation: &Evaluation, Assumption { severity, message }: &Assumption) -> String {
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "notice",
    };
    let position = position(evaluation, None).map(|position| format!(" {position}")).unwrap_or_default();
    format!("::{command}{position}::{}", data(&format!("{}: {message}", evaluation.what())))
}

/// Returns the position of a problem; none for objects of a live cluster.
fn position(evaluation: &Evaluation, problem: Option<&Problem>) -> Option<String> {
    let file = Some(&evaluation.file).filter(|file| !file.is_empty()).map(|file| property(file))?;
    Some(match problem.and_then(|problem| problem.position.as_ref()) {
        Some(position) => {
            format!(
                "file={file},line={},col={},endColumn={}",
                position.line,
                position.column,
                position.end_column()
            )
        }
        None => format!("file={file},line={}", evaluation.line),
    })
}

/// Escapes the text of a command. Its reader unescapes only these three characters.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command, so that it does not end early.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
