//! Every command of docs/alerts.md, verbatim, on a real control plane with the chart's objects in it. Only the Pods of
//! commands by hand run there: a command that reads logs finds the Pods of its Deployment, and no logs; one about a Deployment that does not
//! exist fails.

use std::fs;

use codex_k8s_tests::page::{Code, Shell, code, one_line};
use codex_k8s_tests::{ControlPlane, Guard, Identity, Kubelet, chart, eventually};
use serde_json::{Value, json};

use crate::cluster::{TIMEOUT, playground};

const PAGE: &str = include_str!("../../../docs/alerts.md");
const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
const COLLECTORS_POLICY: &str = "collector.yaml";
const INSTALLED: &str = "policy: {cleanup: {waitForGone: 30s}}";
const HEAD: &str = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";

/// The result of a command.
enum Outcome {
    /// It succeeds, and prints this.
    Prints(&'static str),
    /// It fails with this code, and prints this: only here, not on the cluster that it is meant for.
    Fails(i32, &'static str),
}

use Outcome::{Fails, Prints};

/// There is no node, so the Pods are not scheduled, and have no log.
const NO_LOG: Outcome = Prints("");

/// Each command, by the alert that it helps with, and its expected result.
const EXPECTED: [(&str, &str, Outcome); 27] = [
    (
        "CodexGuardTargetDown",
        "kubectl -n codex-k8s-guard get pod -l app.kubernetes.io/part-of=codex-k8s-guard",
        Prints("codex-k8s-webhook-"),
    ),
    (
        "CodexGuardWebhookAbsent",
        "kubectl -n codex-k8s-guard get deployment,replicaset -l app.kubernetes.io/part-of=codex-k8s-guard",
        Prints("deployment.apps/codex-k8s-reconcile"),
    ),
    (
        "CodexGuardWebhookAbsent",
        "kubectl -n codex-k8s-guard events --types=Warning",
        // Pods cannot be scheduled, or their volumes cannot be bound.
        Prints("Warning"),
    ),
    (
        "CodexGuardApiServerAbsent",
        "kubectl get --raw /metrics | grep apiserver_current_inflight_requests",
        Prints("apiserver_current_inflight_requests{"),
    ),
    (
        "CodexGuardNotRegistered",
        "kubectl get validatingwebhookconfiguration,mutatingwebhookconfiguration codex-k8s-guard",
        Prints("mutatingwebhookconfiguration.admissionregistration.k8s.io/codex-k8s-guard"),
    ),
    ("CodexGuardNotRegistered", "codex-k8s-guard verify", Prints("enforced")),
    (
        "CodexGuardCertificateEndsSoon",
        "kubectl -n codex-k8s-guard logs deployment/codex-k8s-reconcile --all-pods | grep -i certificate",
        Fails(1, ""),
    ),
    (
        "CodexGuardCertificateEndsSoon",
        "kubectl -n codex-k8s-guard get secret codex-k8s-webhook-ca codex-k8s-webhook-tls",
        Prints("kubernetes.io/tls"),
    ),
    (
        "CodexGuardCertificateEndsSoon",
        "kubectl -n codex-k8s-guard annotate secret codex-k8s-webhook-tls codex-k8s.dev/rotate=now",
        Prints("secret/codex-k8s-webhook-tls annotated"),
    ),
    (
        "CodexGuardCollectorSilent",
        "kubectl -n codex-k8s-guard get deployment,cronjob,job -l app.kubernetes.io/name=codex-k8s-gc",
        Prints("deployment.apps/codex-k8s-gc"),
    ),
    (
        "CodexGuardCollectorSilent",
        "kubectl -n codex-k8s-guard get configmap codex-k8s-gc-last-sweep -o jsonpath='{.data.sweep\\.json}'",
        Prints("\"result\""),
    ),
    ("CodexGuardCollectorSilent", "codex-k8s-guard sweep --dry-run", Prints("1 due; nothing was deleted")),
    ("CodexGuardBreakerOpen", "codex-k8s-guard sweep --dry-run", Prints("1 due; nothing was deleted")),
    (
        "CodexGuardBreakerOpen",
        "codex-k8s-guard sweep --allow-mass-deletion=N",
        // This command does not help the namespace that is stuck.
        Fails(1, "1 due, 1 deleted, 1 still being deleted"),
    ),
    ("CodexGuardNamespacesOverdue", "codex-k8s-guard explain ns/NAME", Prints("example.org/block")),
    ("CodexGuardTerminatingTooLong", "codex-k8s-guard explain ns/NAME", Prints("example.org/block")),
    ("CodexGuardTerminatingTooLong", "kubectl get apiservice", Prints("v1.apps")),
    (
        "CodexGuardWebhookUnreachable",
        "kubectl -n codex-k8s-guard get pod,endpointslice -l app.kubernetes.io/name=codex-k8s-webhook",
        Prints("endpointslice.discovery.k8s.io/codex-k8s-webhook-"),
    ),
    (
        "CodexGuardWebhookUnreachable",
        "kubectl -n codex-k8s-guard logs deployment/codex-k8s-webhook --all-pods --tail=20",
        NO_LOG,
    ),
    ("CodexGuardDenialsJump", "codex-k8s-guard explain RULE", Prints("JOB004")),
    (
        "CodexGuardGateClosedTooLong",
        "kubectl get namespace -l codex-k8s.dev/managed-by -o custom-columns='NAME:.metadata.name,\
         READY:.metadata.annotations.codex-k8s\\.dev/baseline-ready-at,\
         WAITS FOR:.metadata.annotations.codex-k8s\\.dev/baseline-waits-for'",
        Prints("LimitRange codex-run-limits is owned by another manager"),
    ),
    (
        "CodexGuardGateClosedTooLong",
        "kubectl -n codex-k8s-guard logs deployment/codex-k8s-reconcile --all-pods --tail=20",
        NO_LOG,
    ),
    (
        "CodexGuardGateClosedTooLong",
        "codex-k8s-guard reconcile --dry-run",
        Prints("codex-issue-closed: waits: LimitRange codex-run-limits is owned by another manager"),
    ),
    ("CodexGuardCacheStale", "kubectl get --raw /readyz", Prints("ok")),
    (
        "CodexGuardCacheStale",
        "kubectl auth can-i watch namespaces --as=system:serviceaccount:codex-k8s-guard:codex-k8s-webhook",
        Prints("yes"),
    ),
    (
        "CodexGuardCacheStale",
        "kubectl -n codex-k8s-guard logs deployment/codex-k8s-webhook --all-pods --tail=20",
        NO_LOG,
    ),
    ("CodexGuardReloadFails", "codex-k8s-guard policy lint policy.yaml", Fails(1, "policy.yaml:3")),
];

/// Placeholders in the commands, and their values here.
const PLACEHOLDERS: [(&str, &str); 3] = [
    // Without a terminal, the question cannot be answered.
    ("deletion=N", "deletion=5 --yes"),
    ("explain ns/NAME", "explain ns/codex-issue-stuck"),
    ("explain RULE", "explain JOB004"),
];

/// The commands of the page, by alert: the lines of its code blocks, and inline code.
fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for section in PAGE.split("\n## ").skip(1) {
        let (alert, text) = section.split_once('\n').unwrap();
        for code in code(text) {
            let commands: Vec<String> = match code {
                Code::Block(language, block) => {
                    assert_eq!(language, "sh", "{alert}");
                    block.lines().map(str::to_owned).collect()
                }
                Code::Inline(code) => {
                    Some(one_line(code)).filter(|code| is_command(code)).into_iter().collect()
                }
            };
            found.extend(commands.into_iter().map(|command| (alert.to_owned(), command)));
        }
    }
    found
}

fn is_command(code: &str) -> bool {
    ["kubectl ", "codex-k8s-guard "].iter().any(|program| code.starts_with(program))
}

/// A guarded cluster with the chart's objects, and a shell whose `PATH` has our programs.
struct Operator {
    // The node ends first.
    _node: Kubelet,
    guard: Guard,
    shell: Shell,
}

impl Operator {
    fn new() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        let shell = Shell::new(&control_plane, playground()).unwrap();
        let node = Kubelet::start(&control_plane, playground(), &Identity::collector(), &[]).unwrap();
        let rows = node.volume("codex-k8s-gc-audit").unwrap().join("audit.db");
        // Before the webhook is registered, because leases cannot be shortened later.
        create(
            &control_plane,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INSTALL_NAMESPACE}}),
        );
        let block = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
            {"name": "a", "namespace": "codex-issue-stuck", "finalizers": ["example.org/block"]}});
        for object in [expired("codex-issue-stuck"), block] {
            create(&control_plane, &object);
        }
        fs::write(shell.file(COLLECTORS_POLICY), format!("{HEAD}cleanup: {{waitForGone: 5s}}\n")).unwrap();
        let store = rows.display();
        let sweep = format!(
            "codex-k8s-guard sweep --local --policy={COLLECTORS_POLICY} --audit-store=sqlite:{store}"
        );
        let (code, told) = shell.told(&sweep).unwrap();
        assert_eq!(code, Some(1), "it does not end: {told}");
        create(&control_plane, &expired("codex-issue-expired"));
        let operator = Self { _node: node, guard: Guard::over(control_plane, playground()).unwrap(), shell };
        operator.install();
        operator.break_something();
        operator
    }

    /// Installs all objects of the chart, except for the Pod of `helm test`; and the Secrets that its reconciler
    /// creates.
    fn install(&self) {
        let objects = chart::objects(&chart::rendered(INSTALL_NAMESPACE, INSTALLED).unwrap()).unwrap();
        let objects: Vec<_> = objects.into_iter().filter(|object| object["kind"] != "Pod").collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let kubectl = self.guard.kubectl(&Identity::Admin).unwrap();
        kubectl.succeed(&["apply", "-f", "-"], &list.to_string()).unwrap();
        let file = |name: &str| self.guard.file(name).display().to_string();
        let files = [format!("--cert={}", file("webhook.crt")), format!("--key={}", file("webhook.key"))];
        for name in ["codex-k8s-webhook-ca", "codex-k8s-webhook-tls"] {
            let args = ["create", "secret", "tls", name, "-n", INSTALL_NAMESPACE, &files[0], &files[1]];
            let ran = kubectl.run(&args).unwrap();
            assert!(ran.succeeded(), "{ran}");
        }
        for (deployment, pods) in [("codex-k8s-webhook", 2), ("codex-k8s-reconcile", 2)] {
            let label = format!("app.kubernetes.io/name={deployment}");
            eventually(&format!("the Pods of {deployment} are there"), TIMEOUT, || {
                let ran = kubectl
                    .run(&["get", "pod", "-n", INSTALL_NAMESPACE, "-l", &label, "-o", "name"])
                    .unwrap();
                (ran.stdout.lines().count() == pods).then_some(())
            })
            .unwrap();
        }
    }

    /// Creates a namespace whose gate is closed, and an invalid policy.
    fn break_something(&self) {
        let admin = self.guard.kubectl(&Identity::Admin).unwrap();
        let reconciler = self.guard.kubectl(&Identity::reconciler()).unwrap();
        assert!(admin.run(&["create", "namespace", "codex-issue-closed"]).unwrap().succeeded());
        let limits = ["limitrange", "codex-run-limits", "-n", "codex-issue-closed"];
        let of_other_owner = ["--type=merge", "-p", r#"{"metadata":{"labels":null,"managedFields":[{}]}}"#];
        let patched =
            || reconciler.run(&[&["patch"], &limits[..], &of_other_owner].concat()).unwrap().succeeded();
        eventually("it has a baseline", TIMEOUT, || patched().then_some(())).unwrap();
        let why = "-o=jsonpath={.metadata.annotations.codex-k8s\\.dev/baseline-waits-for}";
        eventually("the gate is closed", TIMEOUT, || {
            let ran = admin.run(&["get", "namespace", "codex-issue-closed", why]).unwrap();
            ran.stdout.contains("is owned by another manager").then_some(())
        })
        .unwrap();
        fs::write(self.shell.file("policy.yaml"), format!("{HEAD}leases: {{}}\n")).unwrap();
    }
}

#[track_caller]
fn create(control_plane: &ControlPlane, object: &Value) {
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    kubectl.succeed(&["create", "-f", "-"], &object.to_string()).unwrap();
}

/// A run namespace whose lease ended long ago.
fn expired(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/project-id": "p1",
            "codex-k8s.dev/run-id": name},
        "annotations": {
            "codex-k8s.dev/requested-by": "jane", "codex-k8s.dev/correlation-id": name,
            "codex-k8s.dev/namespace-lease-ttl": "1h0m0s",
            "codex-k8s.dev/namespace-lease-expires-at": "2026-01-01T01:00:00Z",
            "codex-k8s.dev/namespace-lease-updated-at": "2026-01-01T00:00:00Z"}}})
}

#[test]
fn each_command_of_the_runbook_does_what_it_is_there_for() {
    let found = commands();
    let known = |(alert, command, _): &(&str, &str, Outcome)| ((*alert).to_owned(), (*command).to_owned());
    let named: Vec<_> = EXPECTED.iter().map(known).collect();
    assert_eq!(found, named, "the page's commands, and those that this test knows the outcome of");
    let operator = Operator::new();
    let mut wrong = Vec::new();
    for (alert, command, outcome) in &EXPECTED {
        let mut line = (*command).to_owned();
        for (placeholder, value) in PLACEHOLDERS {
            line = line.replace(placeholder, value);
        }
        let (code, told) = operator.shell.told(&line).unwrap();
        let (expected, words) = match outcome {
            Prints(words) => (0, words),
            Fails(code, words) => (*code, words),
        };
        if code != Some(expected) || !told.contains(words) {
            wrong
                .push(format!("{alert}: {line}\nended with {code:?}, not {expected} and {words:?}:\n{told}"));
        }
        if command.contains(" logs ") {
            let (code, told) = operator.shell.told(&line.replace("deployment/", "deployment/no-")).unwrap();
            assert!(code != Some(0) && told.contains("not found"), "{command}: {told}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
