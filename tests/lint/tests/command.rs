//! The program, on a small repository that is right, and with a fault planted in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const RULES: &str = r#"
longest_function = 5
summary_starts = ["what", "who"]
documents = [".md"]
manifests = ["deploy"]
quota_terms = ["quota"]

[prose]
nobody = "the passive"

[[crates]]
path = "core"

[[crates]]
path = "app"
uses = ["core"]

[crates.rooms.top]
modules = ["top"]
uses = ["base"]

[crates.rooms.base]
modules = ["base"]

[[names]]
names = ["ledger"]
instead = "store"
"#;

const LIMITS: &str =
    "circles = 0\nfiles_in_circles = 0\nlong_functions = 0\nquestion_summaries = 0.0\narrows = []\n";

/// A small repository that has no fault.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::new().unwrap());
        tree.write("tests/lint/rules.toml", RULES);
        tree.write("tests/lint/limits.toml", LIMITS);
        tree.write("README.md", "You can read this.\n");
        tree.write("core/Cargo.toml", "[package]\nname = \"demo-core\"\n");
        tree.write("core/src/lib.rs", "//! The core.\n\npub struct Core;\n");
        tree.write("app/Cargo.toml", "[package]\nname = \"demo-app\"\n");
        tree.write("app/src/lib.rs", "//! The program.\n\nmod base;\nmod top;\n");
        tree.write("app/src/base.rs", "//! Types.\n\n/// Returns one.\npub fn base() -> u8 { 1 }\n");
        tree.write("app/src/top.rs", "//! The loop.\n\nuse crate::base::base;\nuse demo_core::Core;\n");
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn append(&self, path: &str, text: &str) {
        let before = fs::read_to_string(self.0.path().join(path)).unwrap();
        self.write(path, &(before + text));
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = lint(self.0.path(), arguments);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

fn lint(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codex-k8s-lint")).current_dir(folder).args(arguments).output().unwrap()
}

/// Plants a fault, and expects that the program fails and names it.
fn expect_fault(path: &str, text: &str, expected: &[&str]) {
    let tree = Tree::new();
    tree.append(path, text);
    let (code, output) = tree.run(&[]);
    assert_eq!(code, Some(1), "{output}");
    for expected in expected {
        assert!(output.contains(expected), "{expected:?} is missing in:\n{output}");
    }
}

#[test]
fn a_tree_without_a_fault_passes_without_output() {
    assert_eq!(Tree::new().run(&[]), (Some(0), String::new()));
}

#[test]
fn a_planted_circle_fails() {
    let expected = [
        "circles: 1, more than the limit 0 in tests/lint/limits.toml",
        "app/src/base.rs:5: uses app/src/top.rs, in a circle of 2 files: move the shared part",
        "app/src/top.rs:3: uses app/src/base.rs, in a circle of 2 files: move the shared part",
    ];
    expect_fault("app/src/base.rs", "use crate::top::top;\n", &expected);
}

#[test]
fn a_planted_forbidden_arrow_fails() {
    let expected = ["app/src/base.rs:5: forbidden use app::base -> app::top: this room may use no other."];
    expect_fault("app/src/base.rs", "use crate::top::top;\n", &expected);
    let expected = ["core/src/lib.rs:4: forbidden use core -> app: this crate may use no other."];
    expect_fault("core/src/lib.rs", "use demo_app::App;\n", &expected);
}

#[test]
fn a_planted_name_of_the_list_fails() {
    let expected = ["app/src/top.rs:5: \"ledger\" in the name LedgerBook: use store"];
    expect_fault("app/src/top.rs", "struct LedgerBook;\n", &expected);
}

#[test]
fn a_planted_question_as_a_summary_fails() {
    let expected = [
        "question_summaries: 14.3 %, more than the limit 0.0 %",
        "app/src/top.rs:5: summary begins with a question word: \"What is told of it.\". Name the thing",
    ];
    let item = "/// What is told of it.\nstruct Report;\n/// A report.\nstruct Other;\n";
    expect_fault("app/src/top.rs", item, &expected);
}

#[test]
fn a_planted_word_in_a_document_and_a_long_function_fail() {
    expect_fault("README.md", "Nobody reads it.\n", &["README.md:2: \"nobody\" in prose: use the passive"]);
    let expected = ["app/src/top.rs:5: function f has 6 lines, more than 5: split it by concern"];
    expect_fault("app/src/top.rs", "fn f() {\n1;\n2;\n3;\n4;\n}\n", &expected);
}

#[test]
fn a_limit_that_is_too_high_fails_and_the_printed_limits_pass() {
    let tree = Tree::new();
    tree.write("tests/lint/limits.toml", &LIMITS.replace("circles = 0\n", "circles = 2\n"));
    let (code, output) = tree.run(&[]);
    assert_eq!(code, Some(1));
    assert!(output.starts_with("tests/lint/limits.toml:1: circles: lower the limit to 0\n"), "{output}");
    let (_, limits) = tree.run(&["limits"]);
    tree.write("tests/lint/limits.toml", &limits);
    assert_eq!(tree.run(&[]), (Some(0), String::new()));
}

#[test]
fn problems_of_changed_files_are_listed_first() {
    let tree = Tree::new();
    tree.append("app/src/base.rs", "fn ledger() {}\n");
    for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "all"]] {
        let mut git = Command::new("git");
        git.current_dir(tree.0.path()).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]);
        assert!(git.args(arguments).status().unwrap().success());
    }
    tree.append("app/src/top.rs", "fn ledger() {}\n");
    let (_, output) = tree.run(&[]);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert!(
        lines[1].starts_with("  app/src/top.rs:5:") && lines[2].starts_with("  app/src/base.rs:5:"),
        "{output}"
    );
}

#[test]
fn the_figures_are_printed_as_a_table_and_as_json() {
    let tree = Tree::new();
    let (code, table) = tree.run(&["figures"]);
    assert_eq!(code, Some(0));
    assert!(table.contains("public items                    2\n"), "{table}");
    let (_, json) = tree.run(&["figures", "--output", "json"]);
    let figures: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(figures["public_items"], 2);
    assert_eq!(figures["product_lines"]["app"], 5);
}

#[test]
fn code_that_cannot_be_parsed_is_an_error_with_its_line() {
    let tree = Tree::new();
    tree.append("app/src/top.rs", "fn broken( {}\n");
    let output = lint(tree.0.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("error: app/src/top.rs:5: failed to parse: "), "{message}");
}
