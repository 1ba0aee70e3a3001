//! Commands that a person runs outside of the cluster, with the rights of the chart's Role for operators: they run as
//! Jobs of the installation, with its policy, store and identity, and leave nothing on the person's machine.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use codex_k8s_shared::audit::EventType;
use codex_k8s_tests::process::Process;
use codex_k8s_tests::{Identity, Kubelet, chart};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, INSTALL_NAMESPACE, Ns, playground, soon, unique};

/// The installed policy: a sweep deletes at most one namespace that is due for another reason than its own lease. Its
/// prefix is that of no other test, which may have left namespaces behind.
const VALUES: &str = "\
policy: {namespaces: {prefixes: [codex-hand]}, cleanup: {breaker: {maxDeletions: 1}}}
operatorRole: {enabled: true, subjects: [{kind: Group, name: operators}]}
";

/// A cluster with the chart's objects for the garbage collector, and a machine of an operator.
struct Operated {
    // The node ends first.
    kubelet: Option<Kubelet>,
    cluster: Cluster,
    machine: PathBuf,
}

impl Operated {
    fn new() -> Self {
        let cluster = Cluster::new();
        let mut objects = chart::objects(&chart::rendered(INSTALL_NAMESPACE, VALUES).unwrap()).unwrap();
        let names = ["codex-k8s-gc", "codex-k8s-policy", "codex-k8s-operator"];
        objects.retain(|object| {
            let name = object["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap_or_default();
            names.contains(&name) && object["kind"] != "NetworkPolicy"
        });
        let kubectl = cluster.control_plane.kubectl(&Identity::Admin).unwrap();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        kubectl.succeed(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &list).unwrap();
        let machine = cluster.file("machine");
        std::fs::create_dir(&machine).unwrap();
        Self { kubelet: None, cluster, machine }
    }

    /// Adds a node that runs the Pods of Jobs with additional variables.
    fn with_node(mut self, variables: &[(&str, &str)]) -> Self {
        let control_plane = self.cluster.control_plane;
        let kubelet = Kubelet::start(control_plane, playground(), &Identity::collector(), variables).unwrap();
        self.cluster.use_store(kubelet.volume("codex-k8s-gc-audit").unwrap().join("audit.db"));
        self.kubelet = Some(kubelet);
        self
    }

    /// A command on the operator's machine, which knows nothing but the cluster.
    fn command(&self, args: &[&str]) -> Command {
        let operator = Identity::user("olga").in_group("operators");
        let mut command = Command::new(playground());
        command
            .arg("guard")
            .args(args)
            .env_clear()
            .env("HOME", &self.machine)
            .env("KUBECONFIG", self.cluster.control_plane.kubeconfig(&operator).unwrap())
            .current_dir(&self.machine)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// Asserts that neither a Job nor a file is left.
    #[track_caller]
    fn is_clean(&self) {
        let path = format!("/apis/batch/v1/namespaces/{INSTALL_NAMESPACE}/jobs");
        soon("no Job is left", || {
            let jobs = self.cluster.send(Method::GET, &path, &Value::Null).body;
            jobs["items"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
        assert_eq!(std::fs::read_dir(&self.machine).unwrap().count(), 0, "files of the operator");
    }
}

/// A command that has ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
    }
}

#[test]
fn a_breaker_that_trips_is_allowed_by_the_runbooks_command_under_the_installed_policy_and_in_its_store() {
    let at = Operated::new().with_node(&[]);
    let names: Vec<_> = (0..3).map(|_| unique("codex-hand")).collect();
    for name in &names {
        at.cluster.create_namespace(&Ns::expired(name));
    }
    let swept = at.run(&["sweep", "--yes"]);
    assert_eq!(swept.code, Some(3), "{swept:?}");
    assert!(swept.out.contains("one sweep deletes 1 at most") && !swept.out.contains('\u{1e}'), "{swept:?}");
    let advice = swept.out.lines().find_map(|line| line.trim().strip_prefix("codex-k8s-guard ")).unwrap();
    let advice: Vec<_> = advice.split(' ').collect();

    let unanswered = at.run(&advice);
    assert_eq!(unanswered.code, Some(2), "{unanswered:?}");
    assert!(
        unanswered.error.contains("--yes: Required value: standard input is no terminal"),
        "{unanswered:?}"
    );
    assert!(names.iter().all(|name| at.cluster.lives(name)), "without an answer");

    let allowed = at.run(&[&advice, ["--yes", "--output=json"].as_slice()].concat());
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    let report: Value = serde_json::from_str(&allowed.out).unwrap();
    let is_deleted = |line: &&Value| line["outcome"]["type"] == "deleted";
    assert_eq!(report["namespaces"].as_array().unwrap().iter().filter(is_deleted).count(), 3, "{report}");
    for word in ["running in Job codex-k8s-guard/codex-k8s-gc-by-hand-", "context ", "https://127.0.0.1"] {
        assert!(allowed.error.contains(word), "{word}: {}", allowed.error);
    }
    at.cluster.agrees(&names);
    at.is_clean();
}

#[test]
fn rows_are_read_by_one_command_also_those_of_a_namespace_that_is_gone() {
    let at = Operated::new().with_node(&[]);
    let name = unique("codex-hand");
    at.cluster.create_namespace(&Ns::expired(&name));
    let dry = at.run(&["sweep", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.out.contains("nothing was deleted (dry run: client)"), "{dry:?}");
    assert_eq!(at.run(&["sweep", "--yes"]).code, Some(0));

    let listed =
        at.run(&["audit", "list", &name, "--output", "json", "--guard-namespace", INSTALL_NAMESPACE]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let rows: Value = serde_json::from_str(&listed.out).unwrap();
    let events: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["event_type"].clone()).collect();
    assert_eq!(events, ["run.namespace.cleanup_intended", "run.namespace.cleaned"]);

    // Namespaces that other tests left behind may have rows as well.
    let exported = at.run(&["audit", "export"]);
    let lines: Vec<Value> = exported.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let own: Vec<_> = lines.iter().filter(|row| row["payload"]["namespace"] == *name).cloned().collect();
    assert_eq!(own.as_slice(), rows.as_array().unwrap().as_slice(), "{exported:?}");

    let explained = at.run(&["explain", &format!("ns/{name}")]);
    assert!(
        explained.out.starts_with(&format!("{name} does not exist: it was deleted at ")),
        "{explained:?}"
    );

    let pruned = at.run(&["audit", "prune", "--older-than=1ns"]);
    assert!(pruned.out.starts_with(&format!("removed {} rows ", lines.len())), "{pruned:?}");
    at.is_clean();
}

#[test]
fn the_exit_code_and_the_error_of_the_pod_are_those_of_the_command() {
    let at = Operated::new().with_node(&[("CODEX_K8S_GUARD_AUDIT_STORE", "sqlite:/dev/full")]);
    let failed = at.run(&["audit", "list"]);
    assert_eq!((failed.code, failed.out.as_str()), (Some(5), ""), "{failed:?}");
    assert!(failed.error.contains("error: ") && !failed.error.contains('\u{1e}'), "{failed:?}");
    at.is_clean();
}

#[test]
fn a_command_that_is_interrupted_ends_its_pod_and_deletes_its_job() {
    let at = Operated::new().with_node(&[]);
    let name = unique("codex-hand");
    at.cluster.append(EventType::Prepared, &name);
    let mut command = at.command(&["audit", "list", "--follow", "--output=json", &name]);
    let following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The command, and that in its Pod.
    let processes = || Process::all_started_with(&name).unwrap().len();
    soon("the rows are followed", || (processes() == 2).then_some(()));
    Process::of_child(&following).signal("INT").unwrap();
    let ran = Ran::of(&following.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.error.contains("interrupted: deleting Job "), "{ran:?}");
    soon("the process of the Pod has ended", || (processes() == 0).then_some(()));
    at.is_clean();
}

#[test]
fn a_pod_that_does_not_start_is_explained_and_its_job_is_deleted() {
    let at = Operated::new();
    let quotas = format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/resourcequotas");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}}});
    at.cluster.create(&quotas, &quota);
    soon("the quota counts", || {
        let stored = at.cluster.send(Method::GET, &format!("{quotas}/none"), &Value::Null).body;
        stored["status"]["hard"]["pods"].is_string().then_some(())
    });
    let refused = at.run(&["audit", "list", "--start-timeout=3s"]);
    at.cluster.send(Method::DELETE, &format!("{quotas}/none"), &Value::Null);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.error.contains("note: waiting for the Pod: FailedCreate: "), "{refused:?}");
    assert!(
        refused.error.contains("did not start within 3s: FailedCreate: ")
            && refused.error.contains("exceeded quota"),
        "{refused:?}"
    );
    at.is_clean();

    let unscheduled = at.run(&["audit", "list", "--start-timeout=1s"]);
    assert!(unscheduled.error.contains("did not start within 1s: no reason is reported"), "{unscheduled:?}");
    at.is_clean();
}

#[test]
fn options_of_this_machine_need_local_and_local_needs_them() {
    let at = Operated::new();
    for (args, words) in [
        (["audit", "list", "--audit-store=sqlite:x"].as_slice(), "--audit-store: Forbidden: "),
        (&["sweep", "--yes", "--policy=p.yaml"], "--policy: Forbidden: "),
        (&["explain", "ns/x", "--runs=postgres://u@h/d"], "--runs: Forbidden: "),
        (&["audit", "list", "--local"], "--audit-store: Required value: "),
        (&["sweep", "--local", "--audit-store=sqlite:x"], "--policy: Required value: "),
        (&["sweep", "--local", "--policy=p.yaml"], "--audit-store: Required value: "),
    ] {
        let refused = at.run(args);
        assert!(refused.code == Some(2) && refused.error.contains(words), "{args:?}: {refused:?}");
    }
    at.is_clean();
}
