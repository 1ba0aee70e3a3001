//! The programs of an installation, each with the rights of its ServiceAccount and no other.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::load::Dialer;
use codex_k8s_tests::process::Process;
use codex_k8s_tests::{Answer, Caller, ControlPlane, Identity, Reconciler, Webhook, eventually};
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::table::{KINDS, Request, Right, granted, requests};
use crate::installed::playground;

pub(crate) const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
pub(crate) const AUTHORITY: &str = "codex-k8s-webhook-ca";
pub(crate) const LEAF: &str = "codex-k8s-webhook-tls";
const TIMEOUT: Duration = Duration::from_secs(90);

/// A control plane with the chart's rights, and the programs that run with them.
pub(crate) struct Installation {
    pub(crate) control_plane: ControlPlane,
    runtime: Runtime,
    admin: Caller,
    roles: Vec<Value>,
    /// The address of the webhook.
    pub(crate) address: SocketAddr,
}

impl Installation {
    /// Applies the rights among rendered objects, and none of the others.
    pub(crate) fn new(objects: &[Value]) -> Self {
        let control_plane = ControlPlane::start_audited(playground()).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let admin = runtime.block_on(Caller::new(&control_plane, &Identity::Admin)).unwrap();
        let of_rights = |object: &&Value| KINDS.iter().any(|kind| object["kind"] == *kind);
        let roles = objects.iter().filter(of_rights).cloned().collect();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let new = Self { control_plane, runtime, admin, roles, address };
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INSTALL_NAMESPACE}});
        let group = "rbac.authorization.k8s.io";
        // People may do everything; our own ServiceAccounts only what the chart grants.
        let people = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": EVERY_RIGHT},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": EVERY_RIGHT}]});
        new.apply(&[home, people]);
        new.apply(&new.roles);
        new
    }

    /// Applies objects as the admin.
    #[track_caller]
    pub(crate) fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let kubectl = self.control_plane.kubectl(&Identity::Admin).unwrap();
        let ran = kubectl
            .run_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &list)
            .unwrap();
        assert!(ran.succeeded(), "{ran}");
    }

    pub(crate) fn send_as(&self, identity: &Identity, method: Method, path: &str, body: &Value) -> Answer {
        self.runtime.block_on(async {
            let caller = Caller::new(&self.control_plane, identity).await.unwrap();
            caller.send_like_client_go(method, path, body).await.unwrap()
        })
    }

    /// Sends a request as the admin.
    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.runtime.block_on(self.admin.send(method, path, body)).unwrap()
    }

    #[track_caller]
    pub(crate) fn done(&self, method: Method, path: &str, body: &Value) -> Value {
        self.send(method, path, body).object().unwrap()
    }

    pub(crate) fn find(&self, path: &str) -> Option<Value> {
        self.send(Method::GET, path, &Value::Null).object().ok()
    }

    /// The requests so far that were made with the rights of the chart.
    pub(crate) fn requests(&self) -> Vec<Request> {
        requests(&self.control_plane.audit_events(), INSTALL_NAMESPACE)
    }

    #[track_caller]
    pub(crate) fn soon<T>(&self, what: &str, answer: impl FnMut() -> Option<T>) -> T {
        eventually(what, TIMEOUT, answer).unwrap_or_else(|error| {
            let logs = ["bootstrap", "reconcile", "webhook", "cert-manager"]
                .map(|name| self.control_plane.log_tail(name));
            panic!("{error}\n{}", logs.join("\n---\n"))
        })
    }

    /// Removes one right while something is done, and waits until a request is refused because of it.
    #[track_caller]
    pub(crate) fn without(&self, right: &Right, works: impl FnOnce()) {
        let role = self.roles.iter().find(|role| {
            role["rules"].is_array()
                && role["metadata"]["name"] == *right.account
                && role["metadata"].get("namespace").is_some() == right.namespace.is_some()
        });
        let role = role.unwrap();
        let rules = granted_by(role).filter(|rule| !is(rule, right));
        let mut less = role.clone();
        less["rules"] = rules.collect();
        self.apply(&[less]);
        self.await_right(right, false);
        let before = self.requests().len();
        works();
        self.soon(&format!("{right:?} is missed"), || {
            self.requests().iter().skip(before).any(|request| lacks(request, right)).then_some(())
        });
        self.apply(std::slice::from_ref(role));
        self.await_right(right, true);
    }

    fn await_right(&self, right: &Right, there: bool) {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": format!("system:serviceaccount:{INSTALL_NAMESPACE}:{}", right.account),
            "resourceAttributes": {"namespace": right.namespace, "verb": right.verb, "group": right.group,
                "resource": resource, "subresource": subresource, "name": right.name}}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        self.soon(&format!("{right:?}: {there}"), || {
            (self.done(Method::POST, path, &review)["status"]["allowed"] == there).then_some(())
        });
    }

    /// Starts a reconciler with these arguments in addition to the chart's own.
    pub(crate) fn reconcile(&self, name: &str, args: &[String]) -> Reconciler {
        let mut all = vec![
            format!("--policy={}", self.policy_file()),
            format!("--guard-namespace={INSTALL_NAMESPACE}"),
            "--certificates".to_owned(),
            "--reload-interval=200ms".to_owned(),
            "--certificate-interval=500ms".to_owned(),
            "--propagation=1s".to_owned(),
            "--authority-linger=1s".to_owned(),
            "--linger=500ms".to_owned(),
        ];
        all.extend_from_slice(args);
        Reconciler::start(&self.control_plane, playground(), name, &Identity::reconciler(), &all).unwrap()
    }

    /// Copies the Secret of the leaf into the folder that the webhook reads.
    pub(crate) fn mount(&self) {
        for part in ["tls.crt", "tls.key"] {
            let secret =
                self.find(&format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/secrets/{LEAF}")).unwrap();
            let pem = BASE64.decode(secret["data"][part].as_str().unwrap()).unwrap();
            fs::write(self.control_plane.folder().join(part), pem).unwrap();
        }
    }

    /// Returns `Some` if the mounted certificate is served to a client that trusts an authority in PEM.
    pub(crate) fn serves_what_is_mounted(&self, authority: &str) -> Option<()> {
        let mounted = fs::read(self.control_plane.folder().join("tls.crt")).unwrap();
        let mounted = CertificateDer::from_pem_slice(&mounted).unwrap();
        let dialer = Dialer::trusting(authority.as_bytes()).unwrap();
        let connection = self.runtime.block_on(dialer.connect(self.address)).ok()?;
        (connection.certificate() == Some(&*mounted)).then_some(())
    }

    /// Starts the webhook.
    pub(crate) fn serve(&self) -> Webhook {
        self.mount();
        let file = |name: &str| self.control_plane.folder().join(name).display().to_string();
        let args = [
            format!("--listen={}", self.address),
            format!("--tls-cert={}", file("tls.crt")),
            format!("--tls-key={}", file("tls.key")),
            format!("--policy={}", self.policy_file()),
            format!("--verify-ca-bundle-of={INSTALL_NAMESPACE}"),
            "--reload-interval=200ms".to_owned(),
        ];
        let identity = Identity::service_account(INSTALL_NAMESPACE, "codex-k8s-webhook");
        Webhook::start_as(&self.control_plane, playground(), "webhook", &identity, &args).unwrap()
    }

    fn policy_file(&self) -> String {
        self.control_plane.folder().join("policy.yaml").display().to_string()
    }

    /// Writes the policy that all of them read; `text` follows its first two lines.
    pub(crate) fn write_policy(&self, text: &str) {
        let unfinished = self.control_plane.folder().join("policy.new");
        fs::write(&unfinished, format!("apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n{text}"))
            .unwrap();
        fs::rename(unfinished, self.policy_file()).unwrap();
    }

    /// Runs a command to its end as a ServiceAccount of ours.
    pub(crate) fn run(&self, account: &str, args: &[&str]) -> Output {
        self.run_plainly(account, &[args, &[&format!("--policy={}", self.policy_file())]].concat())
    }

    /// Runs a command that needs no policy.
    pub(crate) fn run_plainly(&self, account: &str, args: &[&str]) -> Output {
        let identity = Identity::service_account(INSTALL_NAMESPACE, account);
        let store = self.control_plane.folder().join("audit.db");
        Command::new(playground())
            .arg("guard")
            .args(args)
            .env("KUBECONFIG", self.control_plane.kubeconfig(&identity).unwrap())
            .env("CODEX_K8S_GUARD_LOCAL", "true")
            .env("CODEX_K8S_GUARD_AUDIT_STORE", format!("sqlite:{}", store.display()))
            .output()
            .unwrap()
    }

    /// Sweeps every second, as the daemon does.
    pub(crate) fn sweep_on_schedule(&self) -> Process {
        let listen = format!("--health-listen=127.0.0.1:{}", free_port().unwrap());
        let policy = format!("--policy={}", self.policy_file());
        let args = ["guard", "daemon", "--schedule=@every 1s", &policy, &listen].map(str::to_owned);
        let kubeconfig = self.control_plane.kubeconfig(&Identity::collector()).unwrap();
        let store = self.control_plane.folder().join("audit.db");
        let env = [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("CODEX_K8S_GUARD_AUDIT_STORE", format!("sqlite:{}", store.display())),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        self.control_plane.run("daemon", playground().to_owned(), args.to_vec(), env.to_vec()).unwrap();
        self.soon("the daemon runs", || Process::started_with(&listen).ok())
    }

    /// Terminates a process and waits for its exit.
    pub(crate) fn end(&self, process: &Process) {
        process.signal("TERM").unwrap();
        self.soon("the process has ended", || (!process.is_running()).then_some(()));
    }
}

/// The rules of a Role, one for each resource, name and verb.
fn granted_by(origin: &Value) -> impl Iterator<Item = Value> {
    let binding = json!({"kind": "ClusterRoleBinding", "roleRef": {"kind": origin["kind"], "name": origin["metadata"]["name"]},
        "subjects": [{"name": "whoever"}]});
    granted(&[origin.clone(), binding]).into_iter().map(|right| {
        let mut rule =
            json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]});
        if let Some(name) = right.name {
            rule["resourceNames"] = json!([name]);
        }
        rule
    })
}

fn is(rule: &Value, right: &Right) -> bool {
    rule["resources"][0] == *right.resource
        && rule["verbs"][0] == *right.verb
        && rule["resourceNames"][0].as_str() == right.name.as_deref()
}

/// Returns true if a request was refused for the lack of this right. To apply a missing object takes the right to
/// create it; to grant more than one has, or to bind it, takes `escalate` or `bind`.
pub(crate) fn lacks(request: &Request, right: &Right) -> bool {
    let (resource, words) = match right.verb.as_str() {
        "escalate" => ("roles", "is attempting to grant RBAC permissions not currently held".to_owned()),
        "bind" => ("rolebindings", "is attempting to grant RBAC permissions not currently held".to_owned()),
        verb => (&*right.resource, format!("cannot {verb} resource \"{}\"", right.resource)),
    };
    request.account == right.account
        && request.code == 403
        && request.resource == resource
        && (request.message.contains(&words)
            || (right.verb == "create" && is_without_reason(&request.message)))
}

/// Returns true if a refusal gives no reason: so it is for a WebSocket, and on older versions for a patch that creates.
fn is_without_reason(message: &str) -> bool {
    message.contains(" is forbidden: ") && !message.contains(" cannot ")
}
