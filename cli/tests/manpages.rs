//! Completion scripts and man pages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use codex_k8s_guard::Cli;
use codex_k8s_guard::pages::{Shell, script, write_pages};

fn bash(script: &str, args: &[&str]) -> Output {
    Command::new("bash").args(["--norc", "--noprofile", "-c", script, "bash"]).args(args).output().unwrap()
}

/// Sources the script in bash and returns the completions of the last word of a command line.
fn offered(program: &clap::Command, expected: &[&str]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script(Shell::Bash, program.clone()).unwrap()).unwrap();
    let complete = r#"
        source "$1"; shift
        spec=$(complete -p "$1"); function=${spec##*-F }; function=${function%% *}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        "$function" "$1" "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let source = file.path().to_str().unwrap();
    let output = bash(complete, &[&[source, program.get_name()], expected].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let program = Cli::command();
    assert_eq!(offered(&program, &["pol"]), ["policy"]);
    assert_eq!(offered(&program, &["policy", "di"]), ["diff"]);
    assert_eq!(offered(&program, &["policy", "print", "--pro"]), ["--profile"]);
    assert_eq!(offered(&program, &["policy", "print", "--profile", ""]), ["a", "b"]);
    assert_eq!(offered(&program, &["policy", "print-defaults", "--he"]), ["--help"]);
    assert_eq!(offered(&program, &["sw"]), ["sweep"]);
    assert_eq!(offered(&program, &["audit", "pr"]), ["prune"]);
}

#[test]
fn bash_accepts_its_script_without_a_change() {
    let output = bash("bash -n <<< \"$1\"", &[&script(Shell::Bash, Cli::command()).unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_scripts_of_zsh_and_fish_are_for_the_program_and_know_each_command() {
    let program = Cli::command();
    let name = program.get_name();
    let (zsh, fish) =
        (script(Shell::Zsh, program.clone()).unwrap(), script(Shell::Fish, program.clone()).unwrap());
    assert!(zsh.starts_with(&format!("#compdef {name}\n")), "{zsh}");
    assert!(fish.contains(&format!("complete -c {name} ")), "{fish}");
    for command in program.get_subcommands() {
        assert!(zsh.contains(command.get_name()) && fish.contains(command.get_name()), "{command}");
    }
}

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
