//! The suites on other versions of Kubernetes, and the table of their results.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::binaries::{self, KUBERNETES, tell};

/// The suites that run on every version.
const SUITES: [&str; 4] = ["admission", "baseline", "gc", "chart"];

/// Tests that need a later version: the first minor version that they run on, and the feature that they need.
const NEED_LATER: [(u32, &str, &str); 17] = [
    (
        31,
        "idle::a_job_whose_node_is_lost_keeps_its_namespace_no_longer_than_its_grace",
        "Jobs that fail only after their Pods have ended",
    ),
    (31, "results::a_run_does_not_report_its_own_success_through_the_status_of_its_job", "success policies"),
    (32, "workloads::another_job_controller_is_refused", "spec.managedBy of Jobs"),
    (33, "coverage::every_registered_subresource_calls_us", "pods/resize"),
    (33, "check::files_are_evaluated_as_the_api_server_would_have_it_word_for_word", "procMount"),
    (
        33,
        "pod_security::a_pod_with_users_of_its_own_unmasks_proc_only_since_the_version_that_allows_it",
        "procMount",
    ),
    (
        33,
        "pod_security::in_a_namespace_of_an_old_version_the_controls_alone_are_those_of_the_api_server",
        "procMount",
    ),
    (33, "pod_security::no_job_is_admitted_whose_pods_are_refused", "procMount"),
    (
        34,
        "pod_security::each_control_of_baseline_refuses_a_job_at_its_field",
        "hosts of probes in Pod Security",
    ),
    (
        34,
        "never_run::a_job_with_impossible_resources_is_refused_and_another_one_runs",
        "spec.resources of Pods",
    ),
    (
        34,
        "never_run::our_verdict_on_the_resources_of_generated_pods_is_that_of_the_api_server",
        "spec.resources of Pods",
    ),
    (
        34,
        "quota::our_sum_for_generated_pods_is_what_the_quota_of_the_cluster_counts",
        "spec.resources of Pods",
    ),
    (
        34,
        "resources::a_request_above_the_default_limit_becomes_the_limit_of_a_job_and_of_a_pod",
        "spec.resources of Pods",
    ),
    (35, "pod_security::each_control_of_restricted_refuses_a_job_at_its_field", "procMount in Pod Security"),
    (
        35,
        "examples::the_api_server_answers_the_examples_of_the_rules_as_they_say",
        "restart policies of containers",
    ),
    (35, "unwritten::retries_that_no_limit_counts_are_refused", "restart policies of containers"),
    (36, "quota::a_suspended_job_is_not_edited_beyond_its_quota", "other resources for suspended Jobs"),
];

/// The lines around the table in the document.
const MARKERS: (&str, &str) = ("<!-- versions -->\n", "<!-- /versions -->");

/// Options of a run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Minor versions of Kubernetes, such as 1.30 (default: all)
    minors: Vec<String>,
    /// Run the suites on the oldest version only
    #[arg(long, conflicts_with = "minors")]
    oldest: bool,
    /// Suites to run (default: all)
    #[arg(long, value_delimiter = ',', value_parser = SUITES)]
    suites: Vec<String>,
    /// Write the results of versions without failures into docs/versions.md
    #[arg(long, conflicts_with = "suites")]
    write: bool,
}

/// The result of a suite.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    passed: u32,
    failed: u32,
    /// Tests that need a later version.
    later: u32,
}

impl Args {
    /// Runs the suites on each version, and writes the table.
    ///
    /// # Errors
    /// Returns an error if a version is unknown, a suite cannot be run, or a test fails.
    pub fn run(&self) -> anyhow::Result<()> {
        let known = binaries::kubernetes_versions()?;
        for minor in &self.minors {
            let supported = || known.iter().map(|(minor, _)| &**minor).collect::<Vec<_>>().join(", ");
            let is_known = known.iter().any(|(known, _)| known == minor);
            ensure!(is_known, "Unsupported value: {minor:?}: supported values: {}", supported());
        }
        let mut failed = Vec::new();
        for (index, (minor, version)) in known.iter().enumerate() {
            let is_chosen = match self.minors.as_slice() {
                [] => !self.oldest || index == 0,
                chosen => chosen.contains(minor),
            };
            if is_chosen {
                let before = failed.len();
                let row = self.row(minor, version, &mut failed)?;
                tell(&row);
                if self.write && failed.len() == before {
                    write(&row, version)?;
                }
            }
        }
        ensure!(failed.is_empty(), "tests failed: {}", failed.join(", "));
        Ok(())
    }

    /// Runs the suites on a version, and returns its row of the table.
    fn row(&self, minor: &str, version: &str, failed: &mut Vec<String>) -> anyhow::Result<String> {
        let mut row = format!("| {version} |");
        for suite in self.suites() {
            let begun = Instant::now();
            let Counts { passed, failed: bad, later } = run(minor, suite)?;
            tell(&format!("{suite} on {version}: {} s", begun.elapsed().as_secs()));
            let _ = write!(row, " {passed} passed");
            if bad > 0 {
                failed.push(format!("{bad} of {suite} on {version}"));
                let _ = write!(row, ", {bad} failed");
            }
            if later > 0 {
                let _ = write!(row, ", {later} need a later version");
            }
            row.push_str(" |");
        }
        Ok(row)
    }

    fn suites(&self) -> impl Iterator<Item = &'static str> {
        let is_chosen =
            |suite: &&str| self.suites.is_empty() || self.suites.iter().any(|chosen| chosen == suite);
        SUITES.into_iter().filter(is_chosen)
    }
}

/// Runs a suite and counts its tests. The output is printed as well.
fn run(minor: &str, suite: &str) -> anyhow::Result<Counts> {
    let own: u32 =
        minor.strip_prefix("1.").and_then(|minor| minor.parse().ok()).context("a version is 1.N")?;
    let later = NEED_LATER.iter().filter(|(since, ..)| *since > own);
    let skipped = later.flat_map(|(_, test, feature)| {
        if suite == "admission" {
            tell(&format!("{test} needs {feature}"));
        }
        ["--skip", *test]
    });
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--locked", "-p", env!("CARGO_PKG_NAME"), "--test", suite, "--", "--exact"])
        .args(skipped)
        .env(KUBERNETES, minor)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start cargo")?;
    let mut counts = None;
    for line in BufReader::new(cargo.stdout.take().context("cargo has no output")?).lines() {
        let line = line?;
        tell(&line);
        counts = parse(&line).or(counts);
    }
    cargo.wait()?;
    counts.with_context(|| format!("the suite {suite} did not run on Kubernetes {minor}"))
}

/// Parses the last line of a suite: `test result: ok. 182 passed; 0 failed; ...`.
fn parse(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let mut counts = Counts::default();
    for part in rest.split(['.', ';']) {
        match part.split_whitespace().collect::<Vec<_>>().as_slice() {
            [count, "passed"] => counts.passed = count.parse().ok()?,
            [count, "failed"] => counts.failed = count.parse().ok()?,
            [count, "filtered", "out"] => counts.later = count.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// Returns the document with the table.
fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/versions.md")
}

/// Replaces the row of a version in the table, or adds it.
fn write(row: &str, version: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(document()).context("failed to read docs/versions.md")?;
    let (before, rest) = text.split_once(MARKERS.0).context("docs/versions.md has no table")?;
    let (table, after) = rest.split_once(MARKERS.1).context("docs/versions.md has no table")?;
    let minor = |row: &str| row.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let own = minor(version);
    let mut rows: Vec<_> = table.lines().skip(2).filter(|row| minor(row) != own).map(str::to_owned).collect();
    rows.push(row.to_owned());
    rows.sort_by_key(|row| minor(row));
    let head = format!("| Kubernetes | {} |\n|{}\n", SUITES.join(" | "), " --- |".repeat(SUITES.len() + 1));
    let text = format!("{before}{}{head}{}\n{}{after}", MARKERS.0, rows.join("\n"), MARKERS.1);
    fs::write(document(), text).context("failed to write docs/versions.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_suite_is_its_last_line() {
        let line = "test result: FAILED. 181 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 92.11s";
        let Counts { passed, failed, later } = parse(line).unwrap();
        assert_eq!((passed, failed, later), (181, 1, 0));
        assert!(parse("test a_name ... ok").is_none());
    }

    #[test]
    fn the_table_has_known_versions_without_failures() {
        let text = fs::read_to_string(document()).unwrap();
        let table = text.split_once(MARKERS.0).unwrap().1.split_once(MARKERS.1).unwrap().0;
        let versions = binaries::kubernetes_versions().unwrap();
        for row in table.lines().skip(2) {
            let is_known = versions.iter().any(|(_, version)| row.starts_with(&format!("| {version} |")));
            assert!(is_known && !row.contains("failed"), "run `make test-versions`: {row}");
        }
    }
}
