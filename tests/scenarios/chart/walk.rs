//! Every command and manifest of docs/first-day.md, docs/install.md and docs/install, and those of README.md for kind,
//! on a real control plane. It has no nodes: helm does not wait there and runs no hooks, and commands that need a Pod are
//! not run, except those of our own program that run as Jobs.

use std::fs;
use std::path::Path;

use codex_k8s_tests::page::{Code, Shell, code, one_line};
use codex_k8s_tests::{ControlPlane, Guard, Identity, Kubelet, eventually};
use serde_json::{Value, json};

use crate::installed::playground;
use crate::places::pages;

const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

/// Commands that this test does not run, by their beginnings, and the reasons.
const NOT_RUN: [(&str, &str); 10] = [
    ("helm test ", "it needs a Pod that runs; `make test-node` runs it"),
    ("kubectl -n codex-k8s-guard wait ", "the Job needs a Pod that runs; `make test-node` waits for it"),
    ("kubectl guard page", "it needs a Pod that runs; `make test-node` does it"),
    ("make image", "it builds for minutes; CI does"),
    ("kind ", "it needs a container engine"),
    ("minikube ", "it needs a container engine or virtual machines"),
    ("sudo k3s ", "it needs k3s and root"),
    ("gcloud ", "it needs an account of Google"),
    ("skopeo copy ", "it needs a registry"),
    ("skopeo inspect ", "it needs a registry"),
];

/// The manifest's languages that are not Kubernetes': they are not read.
const NOT_READ: [&str; 1] = ["hcl"];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

fn is_run(command: &str) -> bool {
    !NOT_RUN.iter().any(|(beginning, _)| command.starts_with(beginning))
}

/// The commands of a page: the lines of its blocks, and inline code that names our objects.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code(text) {
        match part {
            Code::Block("sh", block) => found.extend(block.lines().map(str::to_owned)),
            Code::Inline(code) => found.extend(Some(one_line(code)).filter(|code| is_whole(code))),
            Code::Block(..) => {}
        }
    }
    found
}

/// Returns true if inline code is a command, and not only a part of one.
fn is_whole(code: &str) -> bool {
    let is_program = ["kubectl ", "helm "].iter().any(|program| code.starts_with(program));
    is_program && ["codex-k8s", " guard", " deploy/"].iter().any(|name| code.contains(name))
}

/// A command as it can succeed without nodes.
pub(crate) fn without_nodes(command: &str) -> String {
    let mut words = command.split(' ');
    let mut remaining = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--wait" => {}
            "--timeout" => drop(words.next()),
            _ => remaining.push(word),
        }
    }
    let mut line = remaining.join(" ");
    for verb in ["install", "upgrade", "uninstall", "rollback"] {
        line = line.replace(&format!("helm {verb} "), &format!("helm {verb} --no-hooks "));
    }
    line
}

/// A control plane on which pages are followed.
pub(crate) struct Reader {
    // Dropped after the shell, whose cluster it is.
    pub(crate) shell: Shell,
    pub(crate) control_plane: ControlPlane,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.org/none",
            "metadata": {"name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
        kubectl.succeed(&["create", "-f", "-"], &class.to_string()).unwrap();
        Self { shell: Shell::new(&control_plane, playground()).unwrap(), control_plane }
    }

    #[track_caller]
    fn succeeds(&self, command: &str) {
        let line = without_nodes(command);
        let (code, told) = self.shell.told(&line).unwrap();
        assert_eq!(code, Some(0), "{line}: {told}");
    }

    /// Removes an installation, if there is one.
    fn start_over(&self) {
        for command in [
            "helm uninstall guard --namespace codex-k8s-guard --no-hooks --ignore-not-found",
            "kubectl delete namespace codex-k8s-guard --ignore-not-found",
        ] {
            let (code, told) = self.shell.told(command).unwrap();
            assert_eq!(code, Some(0), "{command}: {told}");
        }
    }

    /// Runs the commands of a text, each installation on a cluster without one. Returns their number.
    #[track_caller]
    fn follow(&self, text: &str) -> usize {
        let mut number = 0;
        for command in commands(text).iter().filter(|command| is_run(command)) {
            let begins =
                ["kubectl create namespace codex-k8s-guard", "kubectl apply --server-side -k deploy/base"];
            if begins.contains(&command.as_str()) {
                self.start_over();
            }
            if command.starts_with("kubectl delete validatingwebhookconfiguration,") {
                // In place of the Job that registers: what it applies.
                self.succeeds("kubectl apply --server-side -f deploy/base/webhook-configurations.yaml");
            }
            self.succeeds(command);
            number += 1;
        }
        number
    }
}

#[test]
fn each_command_of_the_install_pages_runs_or_is_one_that_needs_more_than_a_control_plane() {
    let reader = Reader::new();
    let text = page("install.md");
    let (_, uninstalling) = text.split_once("\n## Uninstalling\n").unwrap();
    let (first, rest) = text.split_once("\n## The image\n").unwrap();
    // What the first part installs, the last one uninstalls.
    assert!(reader.follow(first) >= 3);
    assert!(reader.follow(uninstalling) >= 1);
    assert!(reader.follow(rest.split_once("\n## Uninstalling\n").unwrap().0) >= 2);
    let mut pages: Vec<_> = fs::read_dir(pages()).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let number = reader.follow(&text);
        println!("{}: {number} commands", page.display());
    }
}

#[test]
fn commands_that_are_not_run_are_in_the_pages() {
    let mut all = vec![page("install.md"), page("first-day.md")];
    all.extend(fs::read_dir(pages()).unwrap().map(|page| fs::read_to_string(page.unwrap().path()).unwrap()));
    let commands: Vec<_> = all.iter().flat_map(|text| commands(text)).collect();
    for (beginning, reason) in NOT_RUN {
        let is_there = commands.iter().any(|command| command.starts_with(beginning));
        assert!(is_there && !reason.is_empty(), "{beginning}");
    }
    for text in &all {
        for part in code(text) {
            let Code::Block(language, _) = part else { continue };
            assert!(["sh", "yaml"].contains(&language) || NOT_READ.contains(&language), "{language}");
        }
    }
}

/// The YAML documents of a page.
fn manifests(text: &str) -> Vec<Value> {
    let blocks = code(text).into_iter().filter_map(|part| match part {
        Code::Block("yaml", block) => Some(block),
        _ => None,
    });
    blocks.flat_map(|block| serde_saphyr::from_multiple::<Value>(block).unwrap()).collect()
}

fn found<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_manifests_for_deployers_name_a_chart_and_values_that_there_are() {
    let reader = Reader::new();
    let application = manifests(&page("install/argo-cd.md"));
    let source = &found(&application, "Application")["spec"]["source"];
    let (path, helm) = (source["path"].as_str().unwrap(), &source["helm"]);
    let values = format!("{path}/{}", helm["valueFiles"][0].as_str().unwrap());
    let name = helm["releaseName"].as_str().unwrap();
    assert_eq!(application[0]["metadata"]["name"], name, "the label of tracking selects our Pods");
    reader.succeeds(&format!("helm template {name} {path} --values {values}"));

    let flux = manifests(&page("install/flux.md"));
    let release = &found(&flux, "HelmRelease")["spec"];
    let chart = &release["chart"]["spec"];
    assert_eq!(chart["sourceRef"]["name"], found(&flux, "GitRepository")["metadata"]["name"]);
    let files = chart["valuesFiles"].as_array().unwrap();
    let files: Vec<_> = files.iter().map(|file| file.as_str().unwrap()).collect();
    let values = format!(" --values {}", files.join(" --values "));
    // As Flux does for each revision of its source.
    reader.succeeds(&format!("helm package {} --version 0.1.0+4d5e6f", chart["chart"].as_str().unwrap()));
    let namespace = release["targetNamespace"].as_str().unwrap();
    let template =
        format!("helm template guard codex-k8s-guard-0.1.0+4d5e6f.tgz --namespace {namespace}{values}");
    reader.succeeds(&format!(
        "{template} > rendered.yaml && grep -q 'helm.sh/chart: codex-k8s-guard-0.1.0_4d5e6f$' rendered.yaml"
    ));
    reader.succeeds(&format!("kubectl create namespace {namespace}"));
    reader.succeeds("kubectl apply --server-side --dry-run=server --filename rendered.yaml --selector app.kubernetes.io/name=codex-k8s-webhook");
}

/// Commands of the first day with an outcome that is not only success: part of what they print, and true if they fail.
const FIRST_DAY: [(&str, &str, bool); 7] = [
    ("kubectl get namespace codex-issue-hello -o yaml", "codex-k8s.dev/baseline-ready-at", false),
    ("kubectl --namespace codex-issue-hello get ", "limitrange/codex-run-limits", false),
    ("kubectl label --overwrite namespace codex-issue-hello ", "NS003", true),
    ("codex-k8s-guard sweep --dry-run", "nothing was deleted", false),
    ("codex-k8s-guard explain ns/codex-issue-hello", "codex-issue-hello", false),
    ("kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration ", "deleted", false),
    ("helm upgrade guard ", "has been upgraded", false),
];

#[test]
fn each_step_of_the_first_day_does_what_the_page_says() {
    let text = page("first-day.md");
    let (before, after) = text.split_once("\n**3. ").unwrap();
    let Reader { shell, control_plane } = Reader::new();
    let values = code(before).into_iter().find_map(|part| match part {
        Code::Block("yaml", block) => Some(block),
        _ => None,
    });
    fs::write(shell.file("values.yaml"), values.unwrap()).unwrap();
    let follow = |text: &str| {
        for command in commands(text).iter().filter(|command| is_run(command)) {
            let line = without_nodes(command);
            let known = FIRST_DAY.iter().find(|(beginning, ..)| command.starts_with(beginning));
            let (words, fails) = known.map_or(("", false), |(_, words, fails)| (*words, *fails));
            let mut last = String::new();
            let holds = eventually(&line, TIMEOUT, || {
                let (code, told) = shell.told(&line).unwrap();
                last = format!("{code:?}: {told}");
                ((code != Some(0)) == fails && told.contains(words)).then_some(())
            });
            assert!(holds.is_ok(), "{line}: {last}");
        }
    };
    follow(before);
    let _node = Kubelet::start(&control_plane, playground(), &Identity::collector(), &[]).unwrap();
    let guard = Guard::over(control_plane, playground()).unwrap();
    follow(after);
    // `helm upgrade` runs the hook that registers again; here there is no node for it.
    let hello = shell.told("kubectl create namespace codex-issue-free -o yaml").unwrap().1;
    assert!(!hello.contains("codex-k8s.dev/managed-by"), "it is no longer guarded: {hello}");
    guard.register_at(guard.webhook.address).unwrap();
    let again = shell.told("kubectl create namespace codex-issue-again -o yaml").unwrap().1;
    assert!(again.contains("codex-k8s.dev/managed-by"), "it is guarded again: {again}");
}

/// On kind, helm waits until the webhook is registered. Here, the test starts and registers it.
#[test]
fn the_lines_for_kind_of_the_readme_lead_to_a_guarded_namespace_and_a_denial() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, section) = text.split_once("\n### Try it on kind\n").unwrap();
    let lines = commands(section.split("\n## ").next().unwrap());
    let [build, install, create, get, label] = lines.as_slice() else { panic!("five lines: {lines:?}") };
    assert!(build.split(" && ").all(|command| !is_run(command)), "{build}");
    let Reader { shell, control_plane } = Reader::new();
    let succeeds = |line: &str| {
        let (code, said) = shell.told(line).unwrap();
        assert_eq!(code, Some(0), "{line}: {said}");
        said
    };
    succeeds(&without_nodes(install));
    // The release has created the namespace, which the fixture would create.
    let guard = Guard::over(control_plane, playground()).unwrap();
    assert!(succeeds(create).contains("codex-issue-hello created"));
    assert!(succeeds(get).contains("codex-k8s.dev/requested-by"));
    let (code, said) = shell.told(label).unwrap();
    assert!(code != Some(0) && said.contains("NS003"), "{said}");
    drop(guard);
}
