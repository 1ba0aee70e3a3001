//! Claims that documents make about the sources are true.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use codex_k8s_guard::Cli;
use codex_k8s_shared::policy::RunPolicy;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names of all tests in a folder of sources.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            if !entry.ends_with("target") {
                collect(&entry, found);
            }
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let mut lines = text.lines().map(str::trim).peekable();
            while let Some(line) = lines.next() {
                // In a property test, the attribute is within a macro; either way the function follows.
                if line != "#[test]" && !line.starts_with("#[tokio::test") {
                    continue;
                }
                while lines.next_if(|next| next.starts_with('#') || next.starts_with("//")).is_some() {}
                let name = lines.peek().and_then(|line| line.split("fn ").nth(1)?.split('(').next());
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for crate_ in ["shared", "certs", "webhook", "gc", "cli", "tests"] {
        collect(&root().join(crate_), &mut found);
    }
    found
}

#[test]
fn each_way_round_is_tried_by_a_test_that_there_is_or_said_to_be_open() {
    let known = tests();
    assert!(known.len() > 500, "{}", known.len());
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, rest) = text.split_once("<!-- threats -->").unwrap();
    let (table, _) = rest.split_once("<!-- /threats -->").unwrap();
    let mut number = 0;
    for line in table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #") && !line.starts_with("| ---"))
    {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [found, _, holds, tried] = cells.as_slice() else { panic!("four cells: {line}") };
        number += 1;
        assert_eq!(*found, number.to_string(), "{line}");
        let named: Vec<_> =
            tried.split(", ").map(|name| name.trim_matches('`')).filter(|name| !name.is_empty()).collect();
        let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "{line}\nno such test: {missing:?}");
        assert!(
            !named.is_empty() || holds.contains("not protected"),
            "neither tried nor said to be open: {line}"
        );
    }
    assert_eq!(number, 121);
}

/// The documents, by their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = ["docs", "docs/adr", "docs/install", "docs/operations"]
        .map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let folder = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let beside = ["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let all = folder.chain(beside).filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    all.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn links_lead_to_files_and_headings_that_there_are() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let found = fs::read_to_string(&target).unwrap_or_default();
            let has_heading = heading.is_empty()
                || found.contains(&format!("<a id=\"{heading}\"></a>"))
                || found.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            if !target.exists() || !has_heading {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn each_decision_has_the_same_headings_and_is_listed() {
    let folder = root().join("docs/adr");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut number = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        number += 1;
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let title = text.lines().next().and_then(|line| line.split_once(". ")).unwrap().1;
        assert!(index.contains(&format!("[{title}]({name}) | ")), "{name} is not listed as {title:?}");
        if text.contains("\nStatus: superseded") || text.contains("\nSuperseded: ") {
            continue;
        }
        for part in [
            "Date: 20",
            "Status: accepted",
            "## Context",
            "## Decision",
            "## Consequences",
            "## Alternatives considered",
            "## Code",
        ] {
            assert!(text.contains(&format!("\n{part}")), "{name} has no {part:?}");
        }
    }
    assert!(number > 10, "{number}");
}

#[test]
fn the_comparison_names_tests_that_there_are() {
    let known = tests();
    let text = fs::read_to_string(root().join("docs/comparison.md")).unwrap();
    let named: Vec<_> = text.split("the test `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    assert!(named.len() >= 2, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

#[test]
fn the_policy_for_another_platform_in_the_readme_is_valid_and_differs_from_the_defaults() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let policy = RunPolicy::from_yaml(block).unwrap();
    assert_ne!(policy.namespaces, RunPolicy::default().namespaces);
    assert_ne!(policy.identities, RunPolicy::default().identities);
}

/// `make pictures` records the demo again.
#[test]
fn the_recording_in_the_readme_shows_each_step_of_the_demo() {
    let recording = fs::read_to_string(root().join("docs/images/demo.svg")).unwrap();
    let sources = ["mod.rs", "offline.rs"].map(|file| root().join("tests/src/demo").join(file));
    let sources = sources.map(|file| fs::read_to_string(file).unwrap()).concat();
    let titles: Vec<_> =
        sources.split(".title(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(titles.len() > 5, "{titles:?}");
    let missing: Vec<_> = titles.iter().filter(|title| !recording.contains(&format!(">{title}<"))).collect();
    assert!(missing.is_empty(), "run `make pictures`: {missing:?}");
}

/// The rows of a terminal break words, so blanks are ignored.
#[test]
fn the_denial_in_the_readme_is_the_one_in_the_recording() {
    let recording = fs::read_to_string(root().join("docs/images/demo.svg")).unwrap();
    let rows = recording.split("</text>").filter_map(|row| row.rsplit('>').next());
    let solid = |text: &str| text.split_whitespace().collect::<String>();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, denial) = readme.split_once("\nError from server").unwrap();
    let denial = solid(denial.split("```").next().unwrap());
    assert!(denial.contains("NS003") && solid(&rows.collect::<String>()).contains(&denial), "{denial}");
}

#[test]
fn the_pictures_of_the_readme_are_in_the_repository() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let files: Vec<_> =
        readme.split("docs/images/").skip(1).filter_map(|rest| rest.split(['"', ')']).next()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert!(root().join("docs/images").join(file).is_file(), "{file}");
    }
}

/// The lines of a document's shell blocks that call our program, as words.
fn calls(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("codex-k8s-guard "));
    let words = |line: &str| -> Vec<String> {
        let call = line.split(['#', '>']).next().unwrap_or_default();
        call.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
    };
    lines.map(words).collect()
}

fn is_about_operating(page: &Path) -> bool {
    ["install", "operations"].iter().any(|name| page.parent().is_some_and(|folder| folder.ends_with(name)))
}

/// Without a namespace, helm uses that of the kubeconfig, and would not find the release.
#[test]
fn the_commands_of_helm_name_the_namespace_of_the_release() {
    let mut number = 0;
    for (path, text) in documents() {
        let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        for line in blocks.flat_map(str::lines).filter(|line| line.starts_with("helm ")) {
            let is_local = ["helm package ", "helm template "].iter().any(|verb| line.starts_with(verb));
            assert!(is_local || line.contains(" --namespace codex-k8s-guard"), "{}: {line}", path.display());
            assert!(!line.contains("--reuse-values"), "{}: {line}", path.display());
            number += 1;
        }
    }
    assert!(number > 10, "{number}");
}

#[test]
fn the_commands_of_operators_documents_are_ones_that_the_program_takes() {
    let mut number = 0;
    for (path, text) in documents() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let operators = ["first-day.md", "upgrade.md", "faq.md", "install.md", "alerts.md", "dry-run.md"];
        if !operators.contains(&name) && !is_about_operating(&path) {
            continue;
        }
        for line in calls(&text) {
            let parsed = Cli::try_parse_from(&line).map(drop);
            assert!(parsed.is_ok(), "{name}: {line:?}: {}", parsed.unwrap_err());
            number += 1;
        }
    }
    assert!(number > 5, "{number}");
}
