//! Report for people: one line per object, its changes, and its problems with their source lines.

use std::fmt::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use anstyle::{AnsiColor, Style};
use codex_k8s_webhook::check::{
    Assumption, Document, Evaluation, Position, Problem, Report, Severity, Verdict,
};
use codex_k8s_webhook::rules::catalogue;
use serde_json::Value;

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const NOTED: Style = AnsiColor::Yellow.on_default();
const STRONG: Style = Style::new().bold();

/// Formats the report with colours, which are removed while printing if they are not requested.
pub(super) fn format_report(report: &Report, documents: &[Document]) -> String {
    let mut text = String::new();
    for (evaluation, document) in report.objects.iter().zip(documents) {
        text.push_str(&object(evaluation, &document.object));
    }
    text.push_str(&summary(report));
    text.push_str(&advice(&report.objects));
    if report.summary.assumed > 0 {
        text.push_str(
            "To evaluate without assumptions, add the namespaces to the files, or use --namespace-file.\n",
        );
    }
    text
}

/// Formats the verdict on an object, its changes and its problems.
pub(super) fn object(evaluation: &Evaluation, before: &Value) -> String {
    let renderer = Renderer::styled().decor_style(DecorStyle::Ascii);
    let mut text = format!("{}\n", headline(evaluation));
    if let Some(Assumption { severity, message }) = &evaluation.assumption {
        let (colour, level) = match severity {
            Severity::Error => (REMOVED, "error"),
            Severity::Warning => (NOTED, "note"),
        };
        let _ = writeln!(text, "    {colour}{level}{colour:#}: {message}");
    }
    if !evaluation.result.fails() {
        for operation in &evaluation.patch.0 {
            text.push_str(&change(operation, before));
        }
    }
    for problem in &evaluation.problems {
        let _ = writeln!(text, "{}\n", renderer.render(&[shown(problem)]));
    }
    if let Some(message) = evaluation.message.as_ref().filter(|_| evaluation.problems.is_empty()) {
        let _ = writeln!(text, "    {message}");
    }
    text
}

/// Names the command that explains the first violated rule.
pub(super) fn advice<'a>(evaluations: impl IntoIterator<Item = &'a Evaluation>) -> String {
    let rules =
        evaluations.into_iter().flat_map(|evaluation| &evaluation.problems).map(|problem| problem.rule);
    let rule = rules.filter(|rule| catalogue::find(rule).is_some()).min();
    rule.map(|rule| format!("Why, and how to comply: codex-k8s-guard explain {rule}\n")).unwrap_or_default()
}

fn headline(evaluation: &Evaluation) -> String {
    let colour = match evaluation.result {
        Verdict::NotOurs => Style::new(),
        Verdict::Admitted | Verdict::Mutated => ADDED,
        Verdict::Denied | Verdict::Invalid | Verdict::NotEvaluated | Verdict::Drifted => REMOVED,
    };
    let Evaluation { file, line, .. } = evaluation;
    let position = if file.is_empty() { String::new() } else { format!("{file}:{line}: ") };
    format!(
        "{position}{STRONG}{}{STRONG:#}: {colour}{}{colour:#}",
        evaluation.what(),
        evaluation.result.describe()
    )
}

fn shown(problem: &Problem) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = format!("{}: found {}", problem.path, problem.found);
    let group = Group::with_title(level.primary_title(title).id(problem.rule));
    let group = match &problem.position {
        None => group,
        Some(position) => with_source(group, position),
    };
    group.element(Level::HELP.message(&*problem.remedy))
}

/// The longest line in bytes that is printed. JSON without line breaks is one line.
const LONGEST: usize = 1000;

/// Adds the line of a position, or if it is too long, only its number.
fn with_source<'p>(group: Group<'p>, position: &'p Position) -> Group<'p> {
    let file = &*position.source.file;
    let (line, range) = position.in_line();
    if line.len() > LONGEST {
        return group.element(Origin::path(file).line(position.line).char_column(position.column));
    }
    let annotation = AnnotationKind::Primary.span(range);
    let snippet = Snippet::source(line).line_start(position.line).path(file);
    group.element(snippet.annotation(annotation))
}

/// Formats an operation of a patch: the old and the new value.
fn change(operation: &json_patch::PatchOperation, before: &Value) -> String {
    let operation = serde_json::to_value(operation).unwrap_or_default();
    let pointer = operation.get("path").and_then(Value::as_str).unwrap_or_default();
    let path = pointer.replace("~1", "/").replace("~0", "~");
    let mut text = String::new();
    // An entry that is added to a list comes before the old one and does not replace it.
    let list = pointer.rsplit_once('/').and_then(|(list, _)| before.pointer(list));
    let inserts = operation.get("op").is_some_and(|op| op == "add") && list.is_some_and(Value::is_array);
    if let Some(old) = before.pointer(pointer).filter(|_| !inserts) {
        let _ = writeln!(text, "    {REMOVED}- {path}: {old}{REMOVED:#}");
    }
    if let Some(new) = operation.get("value") {
        let _ = writeln!(text, "    {ADDED}+ {path}: {new}{ADDED:#}");
    }
    text
}

/// Formats the number of objects by verdict in one line.
pub(super) fn summary(report: &Report) -> String {
    let summary = &report.summary;
    let counts = [
        (summary.admitted, "admitted"),
        (summary.mutated, "mutated"),
        (summary.denied, "denied"),
        (summary.invalid, "invalid"),
        (summary.not_evaluated, "not evaluated"),
        (summary.drifted, "drifted"),
        (summary.not_ours, "not ours"),
    ];
    let text: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let objects = if summary.objects == 1 { "object" } else { "objects" };
    let passed_over = match report.passed_over.len() {
        0 => String::new(),
        1 => "; 1 document passed over".to_owned(),
        count => format!("; {count} documents passed over"),
    };
    format!("{} {objects}: {}{passed_over}\n", summary.objects, text.join(", "))
}
