//! Names of run namespaces, slots and Jobs (contract.md, section 2).

use crate::identity::{IssueNumber, is_uuid};
use crate::sanitize::{LONGEST, compact, go_lower, sanitize_dns};

/// The default prefix of run namespaces.
pub const DEFAULT_PREFIX: &str = "codex-issue";
/// The prefix of Jobs and bare Pods of a run.
pub const JOB_PREFIX: &str = "codex-k8s-run-";

const FALLBACK: &str = "codex-run";
const PART: usize = 12;

/// The name of a run's namespace, as the worker builds it. An `issue` of 0 or less means "no issue".
///
/// A long prefix can push the run out of the 63 characters, so that two runs get the same name. That is the
/// platform's behavior, and is kept because its worker uses exactly these names.
pub fn run_namespace_name(prefix: &str, project: &str, run: &str, issue: i64) -> String {
    let name = whole_run_namespace_name(prefix, project, run, issue);
    let cut = name.get(..LONGEST).unwrap_or(&name).trim_end_matches('-');
    or(cut.to_owned(), FALLBACK)
}

fn or(text: String, fallback: &str) -> String {
    if text.is_empty() { fallback.to_owned() } else { text }
}

/// The name of a run's namespace before it is cut to the maximum of 63 characters. If it is longer,
/// [`run_namespace_name`] does not contain the whole run.
pub fn whole_run_namespace_name(prefix: &str, project: &str, run: &str, issue: i64) -> String {
    let base = or(sanitize_dns(prefix), DEFAULT_PREFIX);
    let run = or(compact(run, PART), "run");
    let name = if issue > 0 {
        let project = or(compact(project, PART), "project");
        format!("{base}-{project}-i{issue}-r{run}")
    } else {
        format!("{base}-run-{run}")
    };
    or(sanitize_dns(&name), FALLBACK)
}

/// Returns true if the shortened form of a run's id in names is unique: the id is a random UUID (version 4, as in the
/// platform's database), or short and plain. In any other id, the part that is cut off may be the only difference,
/// such as a counter at its end; the time-ordered versions of UUIDs also differ in their ends.
pub fn is_identified_by_names(run: &str) -> bool {
    let is_random = is_uuid(run) && run.as_bytes().get(14) == Some(&b'4');
    is_random || is_part(run)
}

/// The name of a run's Job or bare Pod, as the worker builds it.
pub fn run_job_name(run: &str) -> String {
    let dashed =
        run.chars().map(|character| if matches!(character, '_' | '.') { '-' } else { go_lower(character) });
    let rest: String = dashed
        .filter(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || *character == '-')
        .collect();
    let stem = rest.trim_matches('-');
    let name = format!("{JOB_PREFIX}{}", if stem.is_empty() { "run" } else { stem });
    name.get(..LONGEST).unwrap_or(&name).trim_end_matches('-').to_owned()
}

/// A slot: an environment that runs share by turns (release B only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The slot's number, from 1.
    pub number: u32,
}

/// The maximum number of digits of a slot's number. A match condition that the API server evaluates has the same
/// limit.
pub const SLOT_DIGITS: usize = 9;

/// The slot of a namespace name of the form `<project>-dev-<n>`.
pub(crate) fn slot_namespace(name: &str) -> Option<Slot<'_>> {
    let (project, number) = name.rsplit_once("-dev-")?;
    let canonical = number.len() <= SLOT_DIGITS
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0');
    let number = number.parse().ok().filter(|_| canonical)?;
    (!project.is_empty()).then_some(Slot { project, number })
}

/// The prefix of a name, with its `-` boundary: `codex-issue` matches `codex-issue-1`, but neither `codex-issues-1`
/// nor `codex-issue` itself.
pub fn reserved_prefix<'p>(name: &str, prefixes: &'p [String]) -> Option<&'p str> {
    let claims = |prefix: &&String| {
        name.strip_prefix(prefix.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| !rest.is_empty())
    };
    prefixes.iter().filter(claims).max_by_key(|prefix| prefix.len()).map(String::as_str)
}

/// The parts of the name of a run namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedName<'a> {
    /// The part after the prefix and its `-`.
    pub rest: &'a str,
    /// The project, at most 12 characters.
    pub project: Option<&'a str>,
    /// The issue.
    pub issue: Option<IssueNumber>,
    /// The run, at most 12 characters.
    pub run: Option<&'a str>,
    cut: bool,
}

/// Splits the name of a run namespace into its parts. A name under the prefix that a user chose only has a `rest`.
pub fn parse_run_namespace<'a>(name: &'a str, prefixes: &[String]) -> Option<ParsedName<'a>> {
    let prefix = reserved_prefix(name, prefixes)?;
    let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let bare = ParsedName { rest, project: None, issue: None, run: None, cut: name.len() >= LONGEST };
    if let Some(run) = rest.strip_prefix("run-").filter(|run| is_part(run)) {
        return Some(ParsedName { run: Some(run), ..bare });
    }
    Some(with_issue(bare).unwrap_or(bare))
}

fn with_issue(bare: ParsedName<'_>) -> Option<ParsedName<'_>> {
    let mut parts = bare.rest.split('-');
    let (project, issue, run) = (parts.next()?, parts.next()?, parts.next()?);
    let issue = issue.strip_prefix('i')?.parse().ok()?;
    let run = run.strip_prefix('r')?;
    let whole = parts.next().is_none() && is_part(project) && is_part(run);
    whole.then_some(ParsedName { project: Some(project), issue: Some(issue), run: Some(run), ..bare })
}

fn is_part(text: &str) -> bool {
    (1..=PART).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl ParsedName<'_> {
    /// Returns true if the name can be the one of this run. A name without a run agrees with all.
    pub fn agrees_with_run(&self, run: &str) -> bool {
        self.agrees(self.run, run, "run")
    }

    /// Returns true if the name can be the one of this project. A name without a project agrees with all.
    pub fn agrees_with_project(&self, project: &str) -> bool {
        self.project.is_none_or(|named| named == compact_or(project, "project"))
    }

    /// A name of the maximum length may have lost the end of its run.
    fn agrees(&self, named: Option<&str>, raw: &str, fallback: &str) -> bool {
        named.is_none_or(|named| {
            let built = compact_or(raw, fallback);
            named == built || (self.cut && built.starts_with(named))
        })
    }
}

/// The part in the form that the worker builds; a label `unknown` also stands for an empty identifier.
fn compact_or(raw: &str, fallback: &str) -> String {
    let raw = if raw == crate::sanitize::UNKNOWN { "" } else { raw };
    Some(compact(raw, PART)).filter(|part| !part.is_empty()).unwrap_or_else(|| fallback.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROJECT: &str = "a74d653c-adf0-5b7c-8c41-88ceadd6edd3";
    const RUN: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";

    fn prefixes() -> Vec<String> {
        vec!["codex-issue".to_owned(), "codex-run".to_owned()]
    }

    #[test]
    fn namespaces_are_named_as_the_platform_names_them() {
        let long = "very-long-namespace-prefix-for-team-alpha-platform";
        for (prefix, project, run, issue, name) in [
            ("codex-issue", PROJECT, RUN, 42, "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47"),
            ("codex-issue", PROJECT, RUN, 0, "codex-issue-run-3f2b8c1e9d47"),
            (
                "CoDeX_Issue",
                "550e8400-e29b-41d4-a716-446655440000",
                "run.with.invalid_chars_...",
                128,
                "codex-issue-550e8400e29b-i128-rrunwithinval",
            ),
            ("", "", "", 7, "codex-issue-project-i7-rrun"),
            ("", "", "", 0, "codex-issue-run-run"),
            (long, PROJECT, RUN, 42, "very-long-namespace-prefix-for-team-alpha-platform-a74d653cadf0"),
        ] {
            assert_eq!(run_namespace_name(prefix, project, run, issue), name);
        }
    }

    #[test]
    fn jobs_are_named_as_the_platform_names_them() {
        for (run, name) in [
            (RUN, "codex-k8s-run-3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"),
            ("RUN_1.2", "codex-k8s-run-run-1-2"),
            ("a/b", "codex-k8s-run-ab"),
            ("", "codex-k8s-run-run"),
            ("___", "codex-k8s-run-run"),
        ] {
            assert_eq!(run_job_name(run), name, "{run:?}");
        }
    }

    #[test]
    fn a_prefix_claims_names_with_its_boundary_only() {
        assert_eq!(reserved_prefix("codex-issue-1", &prefixes()), Some("codex-issue"));
        for name in ["codex-issues-1", "codex-issue", "codex-issue-", "xcodex-issue-1", ""] {
            assert_eq!(reserved_prefix(name, &prefixes()), None, "{name:?}");
        }
        assert_eq!(reserved_prefix("anything", &[]), None);
    }

    #[test]
    fn slots_are_recognised() {
        assert_eq!(slot_namespace("codex-k8s-dev-2"), Some(Slot { project: "codex-k8s", number: 2 }));
        assert_eq!(slot_namespace("a-dev-999999999"), Some(Slot { project: "a", number: 999_999_999 }));
        for name in [
            "codex-k8s-dev-0",
            "codex-k8s-dev-02",
            "codex-k8s-dev-",
            "-dev-1",
            "codex-k8s-dev-x",
            "prod",
            "a-dev-1000000000",
            "a-dev-99999999999",
        ] {
            assert_eq!(slot_namespace(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_reports_project_issue_and_run() {
        let parsed = parse_run_namespace("codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47", &prefixes()).unwrap();
        assert_eq!((parsed.project, parsed.run), (Some("a74d653cadf0"), Some("3f2b8c1e9d47")));
        assert_eq!(parsed.issue, IssueNumber::new(42));
        assert!(parsed.agrees_with_run(RUN) && parsed.agrees_with_project(PROJECT));
        assert!(!parsed.agrees_with_run("another") && !parsed.agrees_with_project("another"));
        let parsed = parse_run_namespace("codex-issue-run-3f2b8c1e9d47", &prefixes()).unwrap();
        assert_eq!((parsed.run, parsed.issue), (Some("3f2b8c1e9d47"), None));
        let own = parse_run_namespace("codex-issue-demo", &prefixes()).unwrap();
        assert_eq!((own.rest, own.run, own.project), ("demo", None, None));
        assert!(own.agrees_with_run("anything"));
    }

    proptest! {
        #[test]
        fn built_names_are_dns_labels_and_agree_with_what_they_were_built_from(
            project in ".{0,40}", run in ".{0,40}", issue in -3i64..1_000_000,
        ) {
            let name = run_namespace_name("codex-issue", &project, &run, issue);
            prop_assert!(crate::sanitize::is_label(&name), "{}", name);
            let parsed = parse_run_namespace(&name, &prefixes()).unwrap();
            prop_assert!(parsed.agrees_with_run(&run) && parsed.agrees_with_project(&project));
            prop_assert_eq!(parsed.issue.map_or(0, IssueNumber::get), issue.max(0));
            prop_assert!(crate::sanitize::is_label(&run_job_name(&run)));
        }
    }
}
