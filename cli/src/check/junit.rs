//! Report as JUnit XML: one suite per file, or per namespace of a live cluster, and one case per object.

use codex_k8s_webhook::check::{Evaluation, Report, Verdict};
use quick_junit::{NonSuccessKind, Report as Suites, SerializeError, TestCase, TestCaseStatus, TestSuite};

/// Formats the report.
pub(super) fn format_report(report: &Report) -> Result<String, SerializeError> {
    let mut suites = Suites::new(env!("CARGO_PKG_NAME"));
    for objects in report.objects.chunk_by(|one, next| suite_of(one) == suite_of(next)) {
        let Some(first) = objects.first() else { continue };
        let mut suite = TestSuite::new(suite_of(first));
        suite.add_test_cases(objects.iter().map(case));
        suites.add_test_suite(suite);
    }
    // The schema allows this count only on a suite.
    let count = format!(" skipped=\"{}\"", suites.skipped);
    Ok(suites.to_string()?.replacen(&count, "", 1))
}

/// Returns the file of an object, or its namespace in a live cluster.
fn suite_of(evaluation: &Evaluation) -> &str {
    match (evaluation.file.as_str(), &evaluation.namespace) {
        ("", Some(namespace)) => namespace,
        ("", None) if evaluation.kind == "Namespace" => &evaluation.name,
        ("", None) => "cluster",
        (file, _) => file,
    }
}

fn case(evaluation: &Evaluation) -> TestCase {
    let status = match evaluation.result {
        _ if evaluation.fails() => denied(evaluation),
        Verdict::NotOurs => {
            let mut status = TestCaseStatus::skipped();
            status.set_description("not ours");
            status
        }
        _ => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(evaluation.what(), status);
    case.set_classname(suite_of(evaluation));
    let assumption = evaluation.assumption.iter().map(|assumption| &assumption.message);
    let notes: Vec<_> = evaluation.warnings.iter().chain(assumption).map(String::as_str).collect();
    if !notes.is_empty() {
        case.set_system_out(notes.join("\n"));
    }
    case
}

fn denied(evaluation: &Evaluation) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(evaluation.rules().join(" "));
    let assumption = || Some(evaluation.assumption.as_ref()?.message.clone());
    status.set_message(evaluation.message.clone().or_else(assumption).unwrap_or_default());
    let problems = evaluation.problems.iter().map(|problem| {
        let position = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}: ", evaluation.file),
            _ => String::new(),
        };
        format!("{position}{}: {problem}", problem.rule)
    });
    status.set_description(problems.collect::<Vec<_>>().join("\n"));
    status
}
