//! Every example in the help of every command, run on a machine with an installation.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;
use codex_k8s_guard::Cli;
use codex_k8s_tests::page::Shell;
use codex_k8s_tests::{ControlPlane, Guard, Identity, Kubelet, chart, eventually};
use serde_json::{Value, json};

use crate::installed::playground;
use crate::values::INSTALL_NAMESPACE;

const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

/// Examples that are not run here, by a part of their lines, and the reasons.
const NOT_RUN: [(&str, &str); 3] = [
    ("postgres://", "it needs a database of that name; the suite audit_stores runs such commands"),
    ("guard page", "it needs a Pod that runs; `make test-node` opens the page"),
    (
        "render payload.json --run-id 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913 --wait",
        "it waits for a Job that runs",
    ),
];

/// Examples that run until they are interrupted, by a part of their lines, and what they print once they work.
const ENDLESS: [(&str, &str); 4] = [
    ("guard serve ", "serving"),
    ("guard reconcile --policy policy.yaml --certificates", "connected to Kubernetes"),
    ("guard daemon ", "waiting for the first start"),
    ("--watch", "NAME"),
];

/// Examples that do not end with 0, by a part of their lines: the code, and words that they print.
const OUTCOMES: [(&str, i32, &str); 7] = [
    ("sweep --allow-mass-deletion", 2, "standard input is no terminal"),
    ("check --strict", 1, "only the reconciler writes it"),
    ("policy lint --fail-on warn", 1, "remedy: "),
    ("policy diff", 1, "lease"),
    ("register --policy", 1, "does not enforce the rules after 1s"),
    ("register --webhook-timeout", 1, "does not enforce the rules after 1s"),
    ("register --inject-ca-from", 1, "does not enforce the rules after 1s"),
];

/// Commands that change the registration or end the installation: they come last.
const LAST: [&str; 3] = ["register", "unregister", "uninstall"];

/// The example lines of a command and its subcommands, with the name of the command.
fn examples(command: &clap::Command, name: &str, found: &mut Vec<(String, String)>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let after = help.split_once("Examples:\n").map_or("", |(_, after)| after);
    let lines = after.split("\n\n").next().unwrap_or_default().lines();
    found.extend(lines.map(|line| (name.to_owned(), line.trim().to_owned())));
    for below in command.get_subcommands() {
        let name = if name.is_empty() { below.get_name() } else { name };
        examples(below, name, found);
    }
}

/// A machine on which the examples find what they name.
struct Machine {
    shell: Shell,
    guard: Guard,
    _node: Kubelet,
}

impl Machine {
    fn new() -> Self {
        let control_plane = ControlPlane::start_logged(playground()).unwrap();
        let shell = Shell::new(&control_plane, playground()).unwrap();
        let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
        kubectl.succeed(&["create", "namespace", INSTALL_NAMESPACE], "").unwrap();
        let mut objects = chart::objects(&chart::rendered(INSTALL_NAMESPACE, "").unwrap()).unwrap();
        let is_read = |object: &Value| {
            object["kind"] == "CronJob"
                || object["kind"] == "ServiceAccount"
                || object["metadata"]["name"] == "codex-k8s-policy"
        };
        objects.retain(is_read);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        kubectl.succeed(&["apply", "--server-side", "-f", "-"], &list).unwrap();
        let node = Kubelet::start(&control_plane, playground(), &Identity::collector(), &[]).unwrap();
        let guard = Guard::over(control_plane, playground()).unwrap();
        let machine = Self { shell, guard, _node: node };
        machine.prepare();
        machine
    }

    /// A file in the working folder.
    fn file(&self, name: &str) -> PathBuf {
        self.shell.file("work").join(name)
    }

    /// Creates the objects and the files that the examples name.
    fn prepare(&self) {
        let folder = self.guard.control_plane.folder();
        fs::create_dir(self.file("")).unwrap();
        for (name, from) in
            [("ca.crt", "webhook-ca.crt"), ("tls.crt", "webhook.crt"), ("tls.key", "webhook.key")]
        {
            fs::copy(folder.join(from), self.file(name)).unwrap();
        }
        let payload = json!({"repository": {"full_name": "o/r"}, "issue": {"number": 77},
            "trigger": {"kind": "dev", "source": "issue_label", "label": "run:dev"},
            "agent": {"key": "dev", "name": "AI Developer"}})
        .to_string();
        fs::write(self.file("payload.json"), payload).unwrap();
        let worker = "kubectl create deployment codex-k8s-worker --image=busybox:1.36 && \
            kubectl set env deployment/codex-k8s-worker CODEXK8S_RUN_NAMESPACE_TTL=24h";
        for line in [
            "kubectl config rename-context \"$(kubectl config current-context)\" staging",
            "mkdir -p manifests charts man1 ~/.local/share/bash-completion/completions ~/.config/fish/completions",
            "codex-k8s-guard policy print-defaults > policy.yaml && cp policy.yaml old.yaml",
            "sed 's/maxTtl: .*/maxTtl: 48h/' policy.yaml > new.yaml && cp new.yaml proposed.yaml",
            worker,
            "kubectl create namespace codex-issue-demo",
            "kubectl create job demo -n codex-issue-demo --image=busybox:1.36",
            "kubectl create namespace team-a && kubectl create job demo -n team-a --image=busybox:1.36",
            "kubectl get namespace/codex-issue-demo job/demo -n codex-issue-demo -o yaml > before.yaml",
            "kubectl get job demo -n codex-issue-demo -o yaml > job.yaml && cp job.yaml manifests/",
        ] {
            self.succeeds(line);
        }
        let log = self.guard.control_plane.audit_log();
        let line = || {
            fs::read_to_string(&log)
                .unwrap()
                .lines()
                .any(|line| line.contains("codex-issue-demo/jobs"))
                .then_some(())
        };
        eventually("the Job is in the audit log", TIMEOUT, line).unwrap();
        fs::copy(&log, self.file("audit.log")).unwrap();
        for line in [
            "grep -m1 '\"resource\":\"jobs\"' audit.log | grep '\"create\"' | \
             sed 's/\"auditID\":\"[^\"]*\"/\"auditID\":\"3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913\"/' >> audit.log",
            "head -n 5 audit.log | gzip > audit-1.log.gz && cp audit-1.log.gz audit-2.log.gz",
        ] {
            self.succeeds(line);
        }
    }

    #[track_caller]
    fn succeeds(&self, line: &str) {
        assert_eq!(self.ends_with(line, 0, ""), Ok(()));
    }

    /// Runs a command line. The error is what it printed, if it did not end with a code and print words.
    fn ends_with(&self, line: &str, code: i32, words: &str) -> Result<(), String> {
        let (ended, told) = self.shell.told(&format!("cd work\n{line}")).unwrap();
        let is_expected = ended == Some(code) && told.contains(words);
        if is_expected { Ok(()) } else { Err(format!("{line}\nended with {ended:?}: {told}")) }
    }

    /// An example as it can be run here: on free ports of loopback, with the address of the webhook, and without long
    /// waits for a registration that names no webhook of this machine.
    fn here(&self, command: &str, line: &str) -> String {
        let webhook = self.guard.webhook.address.to_string();
        let mut line = match command {
            "register" => line.replace("127.0.0.1:8443", &webhook),
            _ => line.replace("127.0.0.1:8443", "127.0.0.1:0").replace("localhost:8081", "localhost:0"),
        };
        if ["serve", "reconcile", "daemon"].contains(&command) {
            line += " --health-listen 127.0.0.1:0";
        }
        if command == "serve" && !line.contains("--listen ") {
            line += " --listen 127.0.0.1:0";
        }
        if command == "register" && !line.contains("--wait") && !line.contains("--print") {
            line += " --wait 1s";
        }
        line
    }

    /// Runs a command until it prints words, and interrupts it.
    fn works(&self, line: &str, words: &str) -> Result<(), String> {
        let script = format!(
            "{line} > endless.log 2>&1 & pid=$!
            until grep -q '{words}' endless.log || ! kill -0 $pid; do sleep 0.1; done
            kill -INT $pid; wait $pid; ended=$?; cat endless.log; exit $ended"
        );
        self.ends_with(&script, 0, words)
    }
}

#[test]
fn each_example_in_the_help_of_each_command_is_run() {
    let mut all = Vec::new();
    examples(&Cli::command(), "", &mut all);
    all.sort_by_key(|(command, _)| LAST.iter().position(|last| last == command).map_or(0, |place| place + 1));
    let machine = Machine::new();
    let is_run = |example: &str| !NOT_RUN.iter().any(|(part, _)| example.contains(part));
    let ran = all.iter().filter(|(_, example)| is_run(example)).map(|(command, example)| {
        let line = machine.here(command, example);
        if let Some((_, words)) = ENDLESS.iter().find(|(part, _)| example.contains(part)) {
            return machine.works(&line, words);
        }
        let known = OUTCOMES.iter().find(|(part, ..)| example.contains(part));
        let (code, words) = known.map_or((0, ""), |(_, code, words)| (*code, *words));
        machine.ends_with(&line, code, words)
    });
    let failed: Vec<_> = ran.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n---\n"));
}

#[test]
fn the_exceptions_of_the_examples_are_examples() {
    let mut all = Vec::new();
    examples(&Cli::command(), "", &mut all);
    let parts = NOT_RUN.iter().map(|(part, _)| part);
    for part in
        parts.chain(ENDLESS.iter().map(|(part, _)| part)).chain(OUTCOMES.iter().map(|(part, ..)| part))
    {
        assert!(all.iter().any(|(_, line)| line.contains(part)), "{part}");
    }
}
