//! Report in SARIF 2.1.0 (OASIS), for code scanning.

use std::collections::{BTreeMap, BTreeSet};

use codex_k8s_webhook::check::{self, Evaluation, Problem, Report, Severity, live};
use codex_k8s_webhook::rules::{Rule, catalogue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_sarif::sarif::{
    ArtifactLocation, Location, LogicalLocation, Message, MultiformatMessageString, PhysicalLocation, Region,
    ReportingDescriptor, Result as Finding, ResultColumnKind, ResultLevel, Run, SCHEMA_URL, Sarif, Tool,
    ToolComponent, Version,
};

/// The characters of a path that are percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The name of the fingerprint that identifies a finding in later runs, even if its line has moved.
const FINGERPRINT: &str = "codexK8sGuard/v1";

/// Formats the report: each problem is a result.
pub(super) fn format_report(report: &Report) -> serde_json::Result<String> {
    format_results(report.objects.iter().flat_map(results).collect())
}

/// Formats results, with descriptions of the violated rules.
pub(crate) fn format_results(results: Vec<Finding>) -> serde_json::Result<String> {
    let broken: BTreeSet<_> = results.iter().filter_map(|result| result.rule_id.as_deref()).collect();
    let rules = catalogue::all().filter(|rule| broken.contains(rule.id));
    let mut described: Vec<_> = rules.map(description).collect();
    for (id, title, why, remedy) in [
        (live::RULE, live::TITLE, live::WHY, live::REMEDY),
        (check::RULE, check::TITLE, check::WHY, check::REMEDY),
    ] {
        if broken.contains(id) {
            described.push(descriptor(id, title, why, remedy));
        }
    }
    let driver = ToolComponent::builder()
        .name(env!("CARGO_PKG_NAME"))
        .semantic_version(env!("CARGO_PKG_VERSION"))
        .rules(described)
        .build();
    let run = Run::builder()
        .tool(Tool::builder().driver(driver).build())
        .column_kind(serde_json::to_value(ResultColumnKind::UnicodeCodePoints)?)
        .results(results)
        .build();
    let version = serde_json::to_value(Version::V2_1_0)?;
    let sarif = Sarif::builder().schema(SCHEMA_URL).version(version).runs(vec![run]).build();
    Ok(format!("{}\n", serde_json::to_string_pretty(&sarif)?))
}

fn description(rule: &Rule) -> ReportingDescriptor {
    descriptor(rule.id, rule.title, rule.why, rule.remedy)
}

fn descriptor(id: &str, title: &str, why: &str, remedy: &str) -> ReportingDescriptor {
    let text = |text: &str| MultiformatMessageString::builder().text(text).build();
    ReportingDescriptor::builder()
        .id(id)
        .short_description(text(title))
        .full_description(text(why))
        .help(text(remedy))
        .build()
}

fn results(evaluation: &Evaluation) -> Vec<Finding> {
    let unruled = evaluation
        .message
        .as_ref()
        .filter(|_| evaluation.problems.is_empty())
        .map(|message| without_rule(evaluation, ResultLevel::Error, message));
    let assumption = evaluation.assumption.as_ref().map(|assumption| {
        let level = match assumption.severity {
            Severity::Error => ResultLevel::Error,
            Severity::Warning => ResultLevel::Note,
        };
        without_rule(evaluation, level, &assumption.message)
    });
    let problems = evaluation.problems.iter().map(|problem| result(evaluation, problem));
    problems.chain(unruled).chain(assumption).collect()
}

fn without_rule(evaluation: &Evaluation, level: ResultLevel, message: &str) -> Finding {
    let locations = vec![location(evaluation, None)];
    Finding::builder().level(level).message(text(message)).locations(locations).build()
}

fn result(evaluation: &Evaluation, problem: &Problem) -> Finding {
    let level = match problem.severity {
        Severity::Error => ResultLevel::Error,
        Severity::Warning => ResultLevel::Warning,
    };
    let identity = format!("{} {} {}", problem.rule, evaluation.what(), problem.path);
    Finding::builder()
        .rule_id(problem.rule)
        .level(level)
        .message(text(&problem.to_string()))
        .locations(vec![location(evaluation, Some(problem))])
        .partial_fingerprints(BTreeMap::from([(FINGERPRINT.to_owned(), identity)]))
        .build()
}

fn location(evaluation: &Evaluation, problem: Option<&Problem>) -> Location {
    let name = problem
        .map_or_else(|| evaluation.what(), |problem| format!("{} {}", evaluation.what(), problem.path));
    let logical = LogicalLocation::builder().fully_qualified_name(name).kind("member").build();
    let logical = vec![logical];
    match physical(evaluation, problem) {
        Some(physical) => Location::builder().physical_location(physical).logical_locations(logical).build(),
        None => Location::builder().logical_locations(logical).build(),
    }
}

/// Returns the location of a problem; none for objects of a live cluster.
fn physical(evaluation: &Evaluation, problem: Option<&Problem>) -> Option<PhysicalLocation> {
    let region = match problem.and_then(|problem| problem.position.as_ref()) {
        Some(position) => Region::builder()
            .start_line(number(position.line))
            .start_column(number(position.column))
            .end_line(number(position.line))
            .end_column(number(position.end_column()))
            .build(),
        None => Region::builder().start_line(number(evaluation.line)).build(),
    };
    let file = match evaluation.file.as_str() {
        "" => return None,
        "-" => "stdin",
        file => file,
    };
    let uri = utf8_percent_encode(file.trim_start_matches("./"), ENCODED).to_string();
    let uri = if uri.starts_with('/') { format!("file://{uri}") } else { uri };
    let artifact = ArtifactLocation::builder().uri(uri).build();
    Some(PhysicalLocation::builder().artifact_location(artifact).region(region).build())
}

fn text(text: &str) -> Message {
    Message::builder().text(text).build()
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
