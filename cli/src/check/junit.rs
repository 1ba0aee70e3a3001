//! A report as JUnit XML: each file is a suite, or each namespace of a live cluster, and each object a case of it.

use codex_k8s_webhook::check::{Judgement, Report, Verdict};
use quick_junit::{NonSuccessKind, Report as Suites, SerializeError, TestCase, TestCaseStatus, TestSuite};

/// The report.
pub(super) fn told(report: &Report) -> Result<String, SerializeError> {
    let mut suites = Suites::new(env!("CARGO_PKG_NAME"));
    for objects in report.objects.chunk_by(|one, next| suite_of(one) == suite_of(next)) {
        let Some(first) = objects.first() else { continue };
        let mut suite = TestSuite::new(suite_of(first));
        suite.add_test_cases(objects.iter().map(case));
        suites.add_test_suite(suite);
    }
    // The schema knows of no such count beyond that of each suite.
    let count = format!(" skipped=\"{}\"", suites.skipped);
    Ok(suites.to_string()?.replacen(&count, "", 1))
}

/// The file that an object stands in, or the namespace.
fn suite_of(judgement: &Judgement) -> &str {
    match (judgement.file.as_str(), &judgement.namespace) {
        ("", Some(namespace)) => namespace,
        ("", None) if judgement.kind == "Namespace" => &judgement.name,
        ("", None) => "cluster",
        (file, _) => file,
    }
}

fn case(judgement: &Judgement) -> TestCase {
    let status = match judgement.result {
        Verdict::Denied | Verdict::Drifted => denied(judgement),
        Verdict::NotOurs => {
            let mut status = TestCaseStatus::skipped();
            status.set_description("not ours");
            status
        }
        Verdict::Admitted | Verdict::Mended => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(judgement.what(), status);
    case.set_classname(suite_of(judgement));
    if !judgement.warnings.is_empty() {
        case.set_system_out(judgement.warnings.join("\n"));
    }
    case
}

fn denied(judgement: &Judgement) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(judgement.rules().join(" "));
    status.set_message(judgement.message.clone().unwrap_or_default());
    let problems = judgement.problems.iter().map(|problem| {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}: ", judgement.file),
            _ => String::new(),
        };
        format!("{place}{}: {problem}", problem.rule)
    });
    status.set_description(problems.collect::<Vec<_>>().join("\n"));
    status
}
