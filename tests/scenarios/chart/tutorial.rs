//! docs/tutorial.md, line by line: what is printed is compared with the page, or written into it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use codex_k8s_tests::page::Shell;
use codex_k8s_tests::{Guard, Identity, Kubelet};
use regex::Regex;

use crate::documented::writes;
use crate::installed::playground;
use crate::walk::{Reader, without_nodes};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md");
/// The settings that the page installs, for the webhook and the reconciler, which have no node here.
const POLICY: &str = "lease: {minTtl: 1s}\ncleanup: {grace: 1s}\n";

/// A page as the test rewrites it, and the differences so far.
struct Page {
    written: String,
    differences: Vec<String>,
}

/// Removes from an output the parts that differ each time: times, addresses, generated names, and the width of columns.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        (r"context \S+ \(https://\S+\)", "CONTEXT"),
        (r"\bby-hand-[a-z0-9]{5}\b", "by-hand-NAME"),
        (r"(?m)^\S+ +INFO .*::progress: .*\n", ""),
        (r"\b[0-9a-f]{8}\b|\b[0-9a-f]{16}\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "ID"),
        (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z\b", "TIME"),
        (r"\b\d+(\.\d+)?(ms|s|m|h|d)\b", "DURATION"),
        (r"\x1b\[[0-9;]*m", ""),
        (r"[ -]{2,}", " "),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

impl Page {
    /// Runs the commands of a block, each a line after `$ `, and compares what they print.
    fn follow(&mut self, shell: &Shell, block: &str) {
        for step in block.split("$ ").skip(1) {
            let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
            // As a terminal shows it.
            let printed = shell.told(&format!("{{ {command}; }} 2>&1")).unwrap().1;
            if normal(&printed) != normal(expected) {
                self.differences.push(format!("$ {command}\n{printed}"));
            }
            let gap = if self.written.ends_with("```console\n") { "" } else { "\n" };
            let _ = writeln!(self.written, "{gap}$ {command}\n{}", printed.trim_end());
        }
    }
}

#[test]
fn each_step_of_the_tutorial_prints_what_the_page_says() {
    let text = fs::read_to_string(PAGE).unwrap();
    let Reader { shell, control_plane } = Reader::new();
    assert_eq!(shell.told("kubectl config rename-context c kind-kind").unwrap().0, Some(0));
    let (mut control_plane, mut installed) = (Some(control_plane), None);
    let mut page = Page { written: String::new(), differences: Vec::new() };
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 0 {
            page.written += part;
            continue;
        }
        let (language, block) = part.split_once('\n').unwrap();
        let _ = writeln!(page.written, "```{language}");
        match language {
            "console" => page.follow(&shell, block),
            "yaml" => {
                let name = block.lines().next().unwrap().strip_prefix("# ").unwrap();
                fs::write(shell.file(name), block).unwrap();
            }
            _ => {
                for line in block.lines() {
                    let hook = if line.starts_with("helm uninstall") {
                        "codex-k8s-guard unregister && "
                    } else {
                        ""
                    };
                    let line = format!("{hook}{}", without_nodes(line));
                    let (code, told) = shell.told(&line).unwrap();
                    assert_eq!(code, Some(0), "{line}: {told}");
                }
            }
        }
        if language != "console" {
            page.written += block;
        }
        page.written += "```";
        // The programs run beside the cluster, as soon as it is installed.
        if block.contains("helm install")
            && let Some(control_plane) = control_plane.take()
        {
            let node = Kubelet::start(&control_plane, playground(), &Identity::collector(), &[]).unwrap();
            installed = Some((node, Guard::over_with_policy(control_plane, playground(), POLICY).unwrap()));
        }
    }
    assert!(installed.is_some(), "the page installs");
    if writes() {
        fs::write(PAGE, page.written).unwrap();
    } else {
        let again = "run this test with CODEX_K8S_GUARD_WRITE_SNAPSHOTS=1 if this is meant";
        assert!(page.differences.is_empty(), "{again}:\n{}", page.differences.join("\n"));
    }
    assert!(Path::new(PAGE).exists());
}
