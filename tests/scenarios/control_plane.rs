//! Tests of the fixture itself.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::page::{Code, code};
use codex_k8s_tests::{ControlPlane, Identity, eventually};

const TIMEOUT: Duration = Duration::from_secs(30);

fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| ControlPlane::start(playground()).unwrap())
}

fn admin(args: &[&str]) -> String {
    let ran = control_plane().kubectl(&Identity::Admin).unwrap().run(args).unwrap();
    assert!(ran.succeeded(), "{ran}");
    ran.stdout
}

#[test]
fn a_new_namespace_gets_its_service_account_and_goes_away_when_it_is_deleted() {
    admin(&["create", "namespace", "throwaway"]);
    let kubectl = control_plane().kubectl(&Identity::Admin).unwrap();
    let there = |args: &[&str]| kubectl.run(args).unwrap().succeeded();
    eventually("default ServiceAccount", TIMEOUT, || {
        there(&["get", "serviceaccount", "default", "-n", "throwaway"]).then_some(())
    })
    .unwrap();
    admin(&["delete", "namespace", "throwaway", "--wait=false"]);
    eventually("namespace gone", TIMEOUT, || (!there(&["get", "namespace", "throwaway"])).then_some(()))
        .unwrap();
}

#[test]
fn a_job_creates_its_pod() {
    admin(&["create", "job", "hello", "--image=busybox:1.36", "-n", "default"]);
    eventually("Pod of the Job", TIMEOUT, || {
        admin(&["get", "pods", "-n", "default", "-l", "job-name=hello", "-o", "name"])
            .starts_with("pod/")
            .then_some(())
    })
    .unwrap();
}

#[test]
fn a_user_without_rights_is_forbidden() {
    let ran = control_plane().kubectl(&Identity::user("nobody")).unwrap().run(&["get", "pods"]).unwrap();
    assert!(ran.stderr.contains(r#"User "nobody" cannot list resource "pods""#), "{ran}");
}

#[test]
fn certificates_and_impersonation_carry_user_and_groups() {
    let who = |identity: &Identity| {
        control_plane().kubectl(identity).unwrap().run(&["auth", "whoami", "-o", "json"]).unwrap().stdout
    };
    let jane = who(&Identity::user("jane").in_group("developers"));
    assert!(jane.contains(r#""username": "jane""#) && jane.contains(r#""developers""#), "{jane}");
    let worker = who(&Identity::worker());
    assert!(worker.contains("system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker"), "{worker}");
    assert!(worker.contains("system:serviceaccounts:codex-k8s-ai-staging"), "{worker}");
}

#[test]
fn a_service_accounts_token_authenticates_it() {
    let token = eventually("token", TIMEOUT, || {
        let ran = control_plane().kubectl(&Identity::Admin).unwrap();
        Some(ran.run(&["create", "token", "default", "-n", "default"]).unwrap())
            .filter(codex_k8s_tests::Ran::succeeded)
    })
    .unwrap();
    let review = format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}}"#,
        token.stdout.trim()
    );
    let kubectl = control_plane().kubectl(&Identity::Admin).unwrap();
    let reviewed = kubectl.run_with_input(&["create", "-f", "-", "-o", "json"], &review).unwrap();
    assert!(reviewed.stdout.contains("system:serviceaccount:default:default"), "{reviewed}");
}

#[test]
fn writes_are_in_the_audit_log() {
    admin(&["create", "namespace", "audited"]);
    let line = eventually("audit event", TIMEOUT, || {
        Some(control_plane().audit_about("audited"))
            .filter(|lines| lines.contains("admin create namespaces/audited -> 201"))
    });
    line.unwrap();
}

/// The processes whose command line names a folder.
fn processes(folder: &str) -> Vec<String> {
    let output = Command::new("pgrep").args(["-f", "--", folder]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn it_ends_with_its_owner_however_that_ends_and_with_its_supervisor() {
    let own = ControlPlane::start(playground()).unwrap();
    let folder = own.folder().display().to_string();
    assert_eq!(
        processes(&folder).len(),
        4,
        "etcd, kube-apiserver, kube-controller-manager, and the supervisor"
    );
    let supervisor = own.supervisor_id().to_string();
    assert!(Command::new("kill").args(["-KILL", &supervisor]).status().unwrap().success());
    eventually("children ended with their supervisor", TIMEOUT, || {
        processes(&folder).is_empty().then_some(())
    })
    .unwrap();
}

#[test]
fn it_ends_when_its_owner_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let mut owner = Command::new(playground())
        .args(["hold", "--dir", &dir])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the owner's cluster is ready", Duration::from_secs(90), || {
        folder.path().join("ready").exists().then_some(())
    })
    .unwrap();
    let kubeconfig = std::fs::read_to_string(folder.path().join("admin.kubeconfig")).unwrap();
    let children = || {
        let output = Command::new("pgrep").args(["-P", &owner.id().to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let supervisor = children().trim().to_owned();
    assert!(!supervisor.is_empty() && !kubeconfig.is_empty());
    let command = std::fs::read_to_string(Path::new("/proc").join(&supervisor).join("cmdline")).unwrap();
    let files = command.split('\0').find(|argument| argument.contains("control-plane-")).unwrap().to_owned();
    assert!(Path::new(&files).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the supervisor ended", TIMEOUT, || {
        (!Path::new("/proc").join(&supervisor).join("exe").exists()).then_some(())
    })
    .unwrap();
    assert!(!Path::new(&files).exists(), "its files have gone with it");
    let port = kubeconfig.split("https://127.0.0.1:").nth(1).unwrap().split('"').next().unwrap();
    let address = format!("127.0.0.1:{port}");
    eventually("the API server ended", TIMEOUT, || std::net::TcpStream::connect(&address).err()).unwrap();
}

/// `make cluster` and `make cluster-down`, as a person uses them: the printed line is pasted into a shell, and then the
/// commands of README.md.
#[test]
fn the_printed_line_makes_kubectl_and_the_plugin_ready_for_the_commands_of_the_readme() {
    let (_, readme) = include_str!("../../README.md").split_once("\n### Try it on your machine\n").unwrap();
    let Some(Code::Block("sh", commands)) = code(readme).into_iter().find(|it| matches!(it, Code::Block(..)))
    else {
        panic!("no commands: {readme}")
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster").display().to_string();
    let run = |verb: &str| Command::new(playground()).args([verb, "--dir", &dir]).output().unwrap();
    let up = run("up");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let printed = String::from_utf8(up.stdout).unwrap();
    let line = printed.lines().find(|line| line.starts_with("export PATH=")).unwrap();
    let script = format!("set -e\n{line}\n{commands}kubectl guard --version");
    let used = Command::new("sh").args(["-c", &script]).output().unwrap();
    let down = run("down");
    let said = String::from_utf8_lossy(&used.stdout);
    assert!(used.status.success(), "{said}{}", String::from_utf8_lossy(&used.stderr));
    let version = format!("kubectl-guard {}\n", env!("CARGO_PKG_VERSION"));
    for part in ["codex-issue-mine created", "codex-k8s.dev/run-id: mine", "NS003", &version] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    let script = format!("{line}\nkubectl version --request-timeout=5s");
    let after = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(!after.status.success(), "it has stopped: {}", String::from_utf8_lossy(&after.stdout));
}
