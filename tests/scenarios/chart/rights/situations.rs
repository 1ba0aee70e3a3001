//! The duties of the programs, one situation after the other.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use codex_k8s_tests::binaries::kubernetes_minor;
use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::process::Process;
use codex_k8s_tests::{Answer, Health, Identity, Kubelet};
use http::Method;
use serde_json::{Value, json};

use super::installation::{AUTHORITY, INSTALL_NAMESPACE, Installation, LEAF};
use super::table::{Request, Right};
use crate::installed::playground;

/// Leases that may end soon, and a sweep that does not wait.
const POLICY: &str =
    "lease: {minTtl: 1s}\ncleanup: {grace: 1s}\nidentities: {breakGlass: {users: [vandal]}}\n";
const POLICY_MAP: &str = "codex-k8s-policy";
const LIMITED: &str = "quotas: {agentJobsPerProject: {max: 1}}\n";
/// A baseline in which no object is desired any more.
const BARE: &str = "baseline: {fullEnv: {access: none, resourceQuota: null, limitRange: null}}\n";

pub(crate) const RECONCILE: &str = "codex-k8s-reconcile";
pub(crate) const COLLECTOR: &str = "codex-k8s-gc";
pub(crate) const UNINSTALL: &str = "codex-k8s-uninstall";
pub(crate) const OPERATOR: &str = "codex-k8s-operator";
const REGISTRATION: &str = "codex-k8s-registration";
pub(crate) const CONFIGURATIONS: [&str; 2] =
    ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// A right that no request in the audit log shows, because the API server checks it in addition to the request's own
/// verb: to create an applied object that is missing, to grant more than one has, or to bind that.
fn beside(account: &str, group: &str, resource: &str, verb: &str, granted: &BTreeSet<Right>) -> Right {
    let right = granted.iter().find(|right| {
        right.account == account && right.group == group && right.resource == resource && right.verb == verb
    });
    right.unwrap_or_else(|| panic!("{account} may not {verb} {resource}")).clone()
}

/// An installation in which all situations have occurred.
pub(crate) struct Rights {
    pub(crate) at: Installation,
    pub(crate) granted: BTreeSet<Right>,
    /// Rights that were removed, and whose absence caused a refusal.
    pub(crate) missed: BTreeSet<Right>,
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][format!("codex-k8s.dev/{key}")].as_str().unwrap_or_default()
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

fn rbac(name: &str, resource: &str) -> String {
    format!("/apis/{RBAC}/v1/namespaces/{name}/{resource}")
}

fn jobs(name: &str) -> String {
    format!("/apis/batch/v1/namespaces/{name}/jobs")
}

/// The objects of a baseline, as paths.
fn baseline(name: &str) -> [String; 5] {
    [
        format!("{}/serviceaccounts/codex-runner", path(name)),
        format!("{}/codex-runner", rbac(name, "roles")),
        format!("{}/codex-runner", rbac(name, "rolebindings")),
        format!("{}/resourcequotas/codex-run-quota", path(name)),
        format!("{}/limitranges/codex-run-limits", path(name)),
    ]
}

impl Rights {
    fn without(
        &mut self,
        account: &str,
        group: &str,
        resource: &str,
        verb: &str,
        works: impl FnOnce(&Installation),
    ) {
        let right = beside(account, group, resource, verb, &self.granted);
        self.at.without(&right, || works(&self.at));
        self.missed.insert(right);
    }
}

impl Installation {
    fn create_namespace(&self, name: &str, annotations: &Value) {
        let mut object = namespace(name);
        object["metadata"]["annotations"] = annotations.clone();
        self.send_as(&Identity::developer(), Method::POST, "/api/v1/namespaces", &object).object().unwrap();
    }

    fn await_open(&self, name: &str) {
        self.soon(&format!("the gate of {name} is open"), || {
            self.find(&path(name)).filter(|found| !annotation(found, "baseline-ready-at").is_empty())
        });
    }

    /// Sends a request as a user that no rule refuses.
    fn vandalize(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send_as(&Identity::user("vandal").in_group(EVERY_RIGHT), method, path, body)
    }

    fn delete(&self, path: &str) {
        self.vandalize(Method::DELETE, path, &Value::Null).object().unwrap();
    }

    fn await_absence(&self, path: &str) {
        self.soon(&format!("{path} is gone"), || self.find(path).is_none().then_some(()));
    }

    fn succeeds(&self, account: &str, args: &[&str]) -> bool {
        self.run(account, args).status.success()
    }

    fn apply_registration(&self) -> bool {
        let url = format!("https://{}", self.address);
        self.succeeds(REGISTRATION, &["register", "--url", &url, "--wait=60s"])
    }
}

/// Goes through all situations, and terminates what runs.
pub(crate) fn run(at: Installation, granted: BTreeSet<Right>, objects: &[Value]) -> Rights {
    let mut rights = Rights { at, granted, missed: BTreeSet::new() };
    rights.at.write_policy(POLICY);
    let running = begin(&mut rights);
    look_after(&mut rights);
    limit_agent_jobs(&rights.at);
    sweep(&mut rights);
    operate(&rights.at, objects);
    open_page(&mut rights);
    assert!(rights.at.run_plainly("codex-k8s-deregistration", &["unregister"]).status.success());
    // Watches are in the audit log once they have ended.
    for process in running {
        rights.at.end(&process);
    }
    uninstall(&rights.at);
    rights
}

/// Installs: the reconciler creates certificates before there is a webhook, behind a Service without Pods; then the
/// Pods start; then the webhook is registered.
fn begin(rights: &mut Rights) -> [Process; 2] {
    let at = &rights.at;
    let supervisor = at.reconcile("bootstrap", &[format!("--service={INSTALL_NAMESPACE}/codex-k8s-webhook")]);
    let leaf = format!("{}/secrets/{LEAF}", path(INSTALL_NAMESPACE));
    let first = at.soon("there is a leaf", || at.find(&leaf));
    at.end(&supervisor.process);
    let replica = [format!("--webhook-url=https://{}", at.address), format!("--replica={}", at.address)];
    let supervisor = at.reconcile("reconcile", &replica);
    at.soon("the leaf is for where it serves", || {
        at.find(&leaf).filter(|found| found["data"] != first["data"])
    });
    let webhook = at.serve();
    for resource in CONFIGURATIONS {
        rights.without(REGISTRATION, "admissionregistration.k8s.io", resource, "create", |at| {
            assert!(!at.apply_registration());
        });
    }
    assert!(rights.at.apply_registration() && rights.at.succeeds("codex-k8s-test", &["verify"]));
    [webhook.process, supervisor.process]
}

/// Run namespaces that are created, vandalized and repaired, dropped by the policy, and deleted.
fn look_after(rights: &mut Rights) {
    let names = ["codex-issue-one", "codex-issue-two"];
    for name in names {
        rights.at.create_namespace(name, &Value::Null);
        rights.at.await_open(name);
    }
    // Twice: the second Event of a kind is a change of the first.
    for name in names.into_iter().cycle().take(4) {
        repair(&rights.at, name);
    }
    for (number, (group, resource, verb)) in [
        ("", "serviceaccounts", "create"),
        (RBAC, "roles", "create"),
        (RBAC, "roles", "escalate"),
        (RBAC, "rolebindings", "create"),
        (RBAC, "roles", "bind"),
        ("", "resourcequotas", "create"),
        ("", "limitranges", "create"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("codex-issue-without-{number}");
        rights.without(RECONCILE, group, resource, verb, |at| at.create_namespace(&name, &Value::Null));
        rights.at.await_open(&name);
    }
    let at = &rights.at;
    // Before a refusal, the webhook does not rely on its cache.
    let wide = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": "wide"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    for name in names {
        let refused = at.send_as(&Identity::developer(), Method::POST, &rbac(name, "roles"), &wide);
        assert_eq!(refused.code, 403, "{refused:?}");
    }
    at.write_policy(&format!("{POLICY}{BARE}"));
    for path in names.iter().flat_map(|name| baseline(name)) {
        at.await_absence(&path);
    }
    at.write_policy(POLICY);
    for name in names {
        at.await_open(name);
    }
    rotate(at);
    contend(at);
    at.delete(&path(names[1]));
    at.await_absence(&path(names[1]));
    at.soon("its reservation is free", || {
        let deleted = |request: &Request| request.resource == "leases" && request.verb == "delete";
        at.requests().iter().any(deleted).then_some(())
    });
}

/// Rotates the authority, and with it the leaf.
fn rotate(at: &Installation) {
    let rotate = json!({"metadata": {"annotations": {"codex-k8s.dev/rotate": "now"}}});
    let secrets = [AUTHORITY, LEAF].map(|name| format!("{}/secrets/{name}", path(INSTALL_NAMESPACE)));
    let before = secrets.each_ref().map(|secret| at.find(secret).unwrap());
    at.done(Method::PATCH, &secrets[0], &rotate);
    for (secret, before) in secrets.iter().zip(before) {
        at.soon(&format!("{secret} is renewed"), || {
            at.find(secret).filter(|found| found["data"] != before["data"])
        });
    }
    // Kubelet's work for the Secret that it mounts.
    at.mount();
    at.soon("nothing else is trusted", || {
        at.find(&secrets[0])
            .filter(|found| found["data"]["previous.crt"].as_str().unwrap_or_default().is_empty())
    });
}

/// A change for each: of a list that is replaced as a whole, of a label, and of a map, in which keys without a field
/// manager survive an apply.
fn changes(name: &str) -> [Value; 5] {
    [
        json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": "somebody"}}}),
        json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
        json!({"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": name}]}),
        json!({"spec": {"hard": {"configmaps": "1"}}}),
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "64"}}, {"type": "Pod", "max": {"cpu": "64"}}]}}),
    ]
}

/// The content that makes up an object.
fn content(object: &Value) -> Value {
    let label = &object["metadata"]["labels"]["codex-k8s.dev/managed-by"];
    json!([object["rules"], object["subjects"], object["spec"], label])
}

/// A race: the reservation that a namespace would get is taken in between, and the reconciler retries.
fn contend(at: &Installation) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/leases");
    let held = |number: &u32| at.find(&format!("{leases}/reservation-cluster-{number}")).is_some();
    let free = (1..100).find(|number| !held(number)).unwrap();
    let name = format!("reservation-cluster-{free}");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
    at.done(Method::POST, &leases, &lease);
    at.create_namespace("codex-issue-late", &Value::Null);
    at.await_open("codex-issue-late");
}

/// Deleted objects come back, changed ones are changed back; a binding to another role is recreated.
fn repair(at: &Installation, name: &str) {
    for (path, change) in baseline(name).iter().zip(changes(name)) {
        let before = content(&at.find(path).unwrap());
        at.vandalize(Method::PATCH, path, &change).object().unwrap();
        at.soon(&format!("{path} is repaired"), || at.find(path).filter(|found| content(found) == before));
        at.delete(path);
        at.soon(&format!("{path} is back"), || at.find(path));
        at.await_open(name);
    }
    let binding = &baseline(name)[2];
    let mut other = at.find(binding).unwrap();
    other["metadata"] = json!({"name": "codex-runner", "labels": other["metadata"]["labels"]});
    other["roleRef"] = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"});
    at.soon("a binding of another manager is there", || {
        at.vandalize(Method::DELETE, binding, &Value::Null);
        at.vandalize(Method::POST, &rbac(name, "rolebindings"), &other).is_ok().then_some(())
    });
    at.soon("the binding is made anew", || {
        at.find(binding).filter(|found| found["roleRef"]["kind"] == "Role")
    });
    at.await_open(name);
}

/// Agent Jobs, of which one works at a time.
fn limit_agent_jobs(at: &Installation) {
    at.write_policy(&format!("{POLICY}{LIMITED}"));
    assert!(at.apply_registration());
    let name = "codex-issue-jobs";
    at.create_namespace(name, &Value::Null);
    at.await_open(name);
    let job = |name: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
    };
    at.soon("Jobs are limited", || {
        let tried = at.send_as(
            &Identity::developer(),
            Method::POST,
            &format!("{}?dryRun=All", jobs(name)),
            &job("try"),
        );
        tried.is_ok().then_some(tried.body).filter(|job| job["spec"]["suspend"] == true)
    });
    for number in ["first", "second", "third"] {
        at.send_as(&Identity::developer(), Method::POST, &jobs(name), &job(number)).object().unwrap();
    }
    let works = |number: &str| {
        let found = at.find(&format!("{}/{number}", jobs(name)))?;
        (found["spec"]["suspend"] != true).then_some(())
    };
    at.soon("the first one works", || works("first"));
    for (ends, begins) in [("first", "second"), ("second", "third")] {
        at.delete(&format!("{}/{ends}?propagationPolicy=Background", jobs(name)));
        at.soon(&format!("the {begins} one works"), || works(begins));
    }
}

/// Expired namespaces, and sweeps of them.
fn sweep(rights: &mut Rights) {
    let names = ["codex-issue-over", "codex-issue-over-too"];
    for name in names {
        rights.at.create_namespace(name, &json!({"codex-k8s.dev/namespace-lease-ttl": "2s"}));
    }
    rights.without(COLLECTOR, "", "configmaps", "create", |at| {
        assert!(!at.run(COLLECTOR, &["sweep"]).status.success());
    });
    let at = &rights.at;
    at.soon("both are gone", || {
        at.run(COLLECTOR, &["sweep"]);
        names.iter().all(|name| at.find(&path(name)).is_none()).then_some(())
    });
    let daemon = at.sweep_on_schedule();
    at.create_namespace(names[0], &json!({"codex-k8s.dev/namespace-lease-ttl": "2s"}));
    at.await_absence(&path(names[0]));
    at.end(&daemon);
    // A sweep that fails is reported as an Event, and so is the next failure of the same kind.
    for _ in 0..2 {
        assert!(!at.run(COLLECTOR, &["sweep", "--audit-store=sqlite:/nowhere/audit.db"]).status.success());
    }
}

/// Commands by hand, which run as Jobs made from the chart's CronJob. Nothing of them is left.
fn operate(at: &Installation, objects: &[Value]) {
    let is_read = |object: &&Value| {
        object["kind"] == "CronJob"
            || (object["kind"] == "ConfigMap" && object["metadata"]["name"] == POLICY_MAP)
    };
    let read: Vec<_> = objects.iter().filter(is_read).cloned().collect();
    assert_eq!(read.len(), 2);
    at.apply(&read);
    let node = Kubelet::start(&at.control_plane, playground(), &Identity::collector(), &[]).unwrap();
    let file = at.control_plane.folder().join("policy.yaml").display().to_string();
    for (args, code) in [
        (["sweep", "--dry-run"], 0),
        (["explain", "ns/default"], 0),
        (["policy", "diff"], 1),
        (["audit", "list"], 5),
    ] {
        let operator = Identity::service_account(INSTALL_NAMESPACE, OPERATOR);
        let mut command = Command::new(playground());
        command.arg("guard").args(args).args(["--guard-namespace", INSTALL_NAMESPACE]);
        if args[0] == "policy" {
            command.arg(&file);
        }
        let ran =
            command.env("KUBECONFIG", at.control_plane.kubeconfig(&operator).unwrap()).output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    at.delete(&format!("{}/configmaps/{POLICY_MAP}", path(INSTALL_NAMESPACE)));
    at.soon("the Pods are gone", || {
        let pods = at.find(&format!("{}/pods", path(INSTALL_NAMESPACE)))?;
        pods["items"].as_array()?.is_empty().then_some(())
    });
    drop(node);
}

/// The minor version of Kubernetes since which a WebSocket to a Pod needs the right to create as well.
const CREATES_WEB_SOCKETS: u32 = 35;

/// Opens the page of daemons. Their node does not exist, so that the API server cannot connect to them.
fn open_page(rights: &mut Rights) {
    let right = ("pods/portforward", "create");
    if kubernetes_minor().unwrap() < CREATES_WEB_SOCKETS {
        rights.missed.insert(beside(OPERATOR, "", right.0, right.1, &rights.granted));
        forward_to("codex-k8s-gc-a", &rights.at);
    } else {
        rights.without(OPERATOR, "", right.0, right.1, |at| {
            let refused = forward_to("codex-k8s-gc-a", at);
            assert!(refused.contains("403"), "{refused}");
        });
    }
    let failed = forward_to("codex-k8s-gc-b", &rights.at);
    assert!(failed.contains("failed to forward a connection: ") && !failed.contains("403"), "{failed}");
}

/// Requests the page of a daemon, and returns the warning about it.
fn forward_to(pod: &str, at: &Installation) -> String {
    let pods = format!("{}/pods", path(INSTALL_NAMESPACE));
    let daemon = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "labels": {
            "app.kubernetes.io/name": COLLECTOR, "app.kubernetes.io/part-of": "codex-k8s-guard"}},
        "spec": {"nodeName": "missing", "automountServiceAccountToken": false, "containers": [
            {"name": "gc", "image": "codex-k8s-guard", "args": ["daemon", "--admin-listen=127.0.0.1:8081"]}]}});
    at.done(Method::POST, &pods, &daemon);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    at.done(Method::PATCH, &format!("{pods}/{pod}/status"), &ready);
    let operator = Identity::service_account(INSTALL_NAMESPACE, OPERATOR);
    let mut page = Command::new(playground())
        .args(["guard", "page", "--no-browser", "--guard-namespace", INSTALL_NAMESPACE])
        .env("KUBECONFIG", at.control_plane.kubeconfig(&operator).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(page.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap();
    let answer = Health(address.parse().unwrap()).get("/");
    assert!(!answer.is_ok_and(|text| text.starts_with("HTTP/")), "nothing answers");
    Process::of_child(&page).signal("INT").unwrap();
    let ran = page.wait_with_output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    at.done(Method::DELETE, &format!("{pods}/{pod}?gracePeriodSeconds=0"), &Value::Null);
    String::from_utf8(ran.stderr).unwrap()
}

/// Uninstalls what the programs left, after all of them have ended.
fn uninstall(at: &Installation) {
    let left = |kind: &str, group: &str| {
        let list = at.find(&format!("{group}/namespaces/{INSTALL_NAMESPACE}/{kind}")).unwrap();
        let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone());
        names.collect::<Vec<_>>()
    };
    let leases = || left("leases", "/apis/coordination.k8s.io/v1");
    let (secrets, config_maps) = (|| left("secrets", "/api/v1"), || left("configmaps", "/api/v1"));
    assert!(leases().len() > 2 && secrets() == [AUTHORITY, LEAF] && config_maps().len() == 2);
    let ran = at.run_plainly(UNINSTALL, &["uninstall"]);
    assert!(ran.status.success(), "{ran:?}");
    // Jobs were limited. The Lease that was made by hand names no namespace: the reconciler has released its number.
    assert_eq!(leases(), ["agent-jobs-are-limited"]);
    assert_eq!((secrets(), config_maps()), (vec![], vec![json!("kube-root-ca.crt")]));
}
