//! Man pages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use codex_k8s_guard::Cli;
use codex_k8s_guard::pages::write_pages;

/// A command and all below it, by the names of their pages.
fn commands(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((name.to_owned(), command.clone()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        commands(below, &format!("{name}-{}", below.get_name()), found);
    }
}

#[test]
fn each_command_has_a_page_that_reports_its_options() {
    let program = Cli::command();
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    write_pages(program.clone(), &pages).unwrap();
    let mut all = Vec::new();
    commands(&program, program.get_name(), &mut all);
    let written: BTreeSet<_> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, all.iter().map(|(name, _)| format!("{name}.1")).collect());
    for (name, command) in all {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        for section in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(page.contains(section), "{name}: no {section}");
        }
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&option.replace('-', "\\-")), "{name}: no --{option}");
        }
        is_rendered(&pages.join(format!("{name}.1")));
    }
}

/// Checks that groff renders the page without a warning, if it is installed.
fn is_rendered(page: &Path) {
    let Ok(output) = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).output() else {
        return;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = write_pages(Cli::command(), &file.path().join("man1")).unwrap_err();
    let expected = format!("failed to write man pages to {}", file.path().join("man1").display());
    assert_eq!(error.to_string(), expected);
}
